"""Asks a node whether it takes requests, and whom it sees. An open port alone says neither.

The two messages of the thin client protocol that pyignite lacks: a bare handshake, and
OP_CLUSTER_GROUP_GET_NODE_ENDPOINTS (5102).
https://ignite.apache.org/docs/latest/binary-client-protocol/binary-client-protocol
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable

from insitu.databases import Credentials, Tls

_VERSION = (1, 4, 0)
_ENDPOINTS = 5102
_ERROR = 1


class NotReady(Exception):
    """The node does not answer yet, or refuses; the message says how."""


def seen_from(
    host: str, port: int, credentials: Credentials | None = None, tls: Tls | None = None
) -> set[str]:
    """Addresses of all server nodes in the cluster as the node at `host` sees it.

    Raises:
        NotReady: it doesn't answer, is still starting, or refuses this client.
    """
    try:
        with _connect(host, port, tls) as connection:
            return _ask(connection, credentials)
    except (OSError, EOFError) as problem:
        raise NotReady(f"{host}:{port}: {problem}") from problem


def sees_all(
    host: str, port: int, members: set[str], credentials: Credentials | None, tls: Tls | None
) -> bool:
    """Whether the node takes requests and sees exactly `members`."""
    try:
        return seen_from(host, port, credentials, tls) == members
    except NotReady:
        return False


def client_context(tls: Tls) -> ssl.SSLContext:
    """A context that verifies the server and shows the client's certificate, if there is one."""
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key, tls.key_password)
    return context


def _connect(host: str, port: int, tls: Tls | None) -> socket.socket:
    plain = socket.create_connection((host, port), timeout=5.0)
    if tls is None:
        return plain
    try:
        return client_context(tls).wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _ask(connection: socket.socket, credentials: Credentials | None) -> set[str]:
    login = b""
    if credentials is not None:
        login = _string(credentials.username) + _string(credentials.password)
    _send(connection, struct.pack("<bhhhb", 1, *_VERSION, 2) + login)
    if (answer := _receive(connection))[0] != 1:
        raise ConnectionRefusedError(_text(answer[7:]))
    _send(connection, struct.pack("<hqqq", _ENDPOINTS, 1, -1, -1))
    answer = _receive(connection)
    (flags,) = struct.unpack_from("<h", answer, 8)
    body = answer[10 + (12 if flags & 2 else 0) :]
    if flags & _ERROR:
        raise ConnectionRefusedError(_text(body[4:]))
    return _hosts(body)


def _hosts(body: bytes) -> set[str]:
    _, count = struct.unpack_from("<qi", body)
    offset, hosts = 12, set()
    for _ in range(count):
        _, names = struct.unpack_from("<ii", body, offset + 16)
        offset += 24
        for _ in range(names):
            name = _text(body[offset:])
            offset += 5 + len(name.encode())
            hosts.add(name)
    return hosts


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<bi", 9, len(data)) + data


def _text(typed: bytes) -> str:
    (size,) = struct.unpack_from("<i", typed, 1)
    return typed[5 : 5 + size].decode()


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(struct.pack("<i", len(message)) + message)


def _receive(connection: socket.socket) -> bytes:
    (size,) = struct.unpack("<i", _exactly(connection.recv, 4))
    return _exactly(connection.recv, size)


def _exactly(receive: Callable[[int], bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (part := receive(size - len(data))):
            raise EOFError("the server closed the connection")
        data += part
    return data
