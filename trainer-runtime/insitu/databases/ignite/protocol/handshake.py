"""Opening a connection: TCP, TLS, version and login, and every way in which each can fail.

request   int8 1 | int16 x 3 version | int8 2 (thin client) | byte array of feature bits
          | [string user, string password]
reply     int8 1 | byte array of feature bits | UUID of the node
refusal   int8 0 | int16 x 3 server version | string message | int32 status
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from dataclasses import dataclass
from uuid import UUID

from insitu.databases import Credentials, Tls, tls
from insitu.databases.ignite.protocol import faults
from insitu.databases.ignite.protocol.frames import (
    BYTE_ARRAY,
    LENGTH,
    STRING,
    read_frame,
    read_string,
)
from insitu.databases.sockets import connect, spelled, why
from insitu.errors import AuthenticationError, DatabaseUnavailable, InsituError, ProtocolError

_VERSION = (1, 7, 0)
#: Feature bit 7, QRY_PARTITIONS_BATCH_SIZE: SQL queries name the partitions they look at.
_FEATURES = bytes([1 << 7])
_UUID = struct.Struct("<QQ")

#: No handshake reply is longer; a longer one comes from something that is not Ignite.
_HANDSHAKE_BYTES = 1 << 16
_RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Accepted:
    node: UUID


@dataclass(frozen=True, slots=True)
class _Declined:
    version: tuple[int, int, int]
    message: str
    status: int


def open_socket(
    host: str, port: int, credentials: Credentials | None, certificate: Tls | None, timeout: float
) -> tuple[socket.socket, UUID]:
    """A logged-in socket and the id of the node behind it; see `wire.Connection.open`."""
    deadline = time.monotonic() + timeout
    where = spelled(host, port)
    hung_up = False
    while True:
        remaining = max(deadline - time.monotonic(), 0.001)
        sock = _connect(host, port, certificate, remaining)
        try:
            reply = _handshake(sock, credentials)
        except (OSError, ProtocolError) as error:
            sock.close()
            if certificate is not None and _is_end(error):
                # Java ends a TLS connection it does not like without a word, and so does a node
                # that is just stopping; but that one does not do it twice.
                if hung_up:
                    raise AuthenticationError(
                        tls.unwanted(f"Ignite at {where}", certificate)
                    ) from error
                hung_up = True
                continue
            raise _hung_up(where, (host, port), certificate, error) from error
        if isinstance(reply, _Accepted):
            sock.settimeout(timeout)
            return sock, reply.node
        sock.close()
        if not faults.starting(reply.status, reply.message):
            raise _declined(where, reply, credentials)
        if time.monotonic() + _RETRY_SECONDS > deadline:
            raise DatabaseUnavailable(f"Ignite at {where} was still starting after {timeout:g} s")
        time.sleep(_RETRY_SECONDS)


def _connect(host: str, port: int, certificate: Tls | None, timeout: float) -> socket.socket:
    where = spelled(host, port)
    sock = connect(host, port, f"Ignite at {where}", timeout)
    if certificate is None:
        return sock
    try:
        return tls.wrap(sock, host, f"Ignite at {where}", certificate)
    except InsituError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        if _speaks_plain((host, port)):
            raise AuthenticationError(tls.plain_server(f"Ignite at {where}")) from error
        raise DatabaseUnavailable(f"Ignite at {where} {why(error)}") from error


def _handshake(sock: socket.socket, credentials: Credentials | None) -> _Accepted | _Declined:
    body = bytearray(struct.pack("<bhhhb", 1, *_VERSION, 2))
    body += struct.pack("<bi", BYTE_ARRAY, len(_FEATURES)) + _FEATURES
    if credentials is not None:
        for text in (credentials.username, credentials.password):
            data = text.encode()
            body += struct.pack("<bi", STRING, len(data)) + data
    sock.sendall(LENGTH.pack(len(body)) + body)
    frame = read_frame(sock, limit=_HANDSHAKE_BYTES, least=1)
    try:
        return _read_handshake(frame)
    except (struct.error, IndexError) as error:
        raise ProtocolError("the answer to the handshake can't be read") from error


def _read_handshake(frame: memoryview) -> _Accepted | _Declined:
    if frame[0] == 0:
        version = struct.unpack_from("<hhh", frame, 1)
        message, offset = read_string(frame, 7)
        status = LENGTH.unpack_from(frame, offset)[0] if offset + 4 <= len(frame) else 0
        return _Declined(version, message, status)
    offset = 1
    if frame[offset] == BYTE_ARRAY:
        offset += 5 + LENGTH.unpack_from(frame, offset + 1)[0]
    most, least = _UUID.unpack_from(frame, offset + 1)
    return _Accepted(UUID(int=most << 64 | least))


def _declined(where: str, reply: _Declined, credentials: Credentials | None) -> InsituError:
    if reply.status == faults.AUTHENTICATION_FAILED:
        if credentials is None:
            return AuthenticationError(
                f"Ignite at {where} asks for a user name and a password, and none was given"
            )
        return AuthenticationError(
            f"Ignite at {where} refused user '{credentials.username}': "
            f"{faults.sentence(reply.message)}"
        )
    if (0, 0, 0) < reply.version < _VERSION:
        theirs = ".".join(map(str, reply.version))
        return ProtocolError(
            f"Ignite at {where} speaks client protocol {theirs}, and 1.7.0 is needed: "
            "use Ignite 2.11 or newer (Ignite 3 has another protocol)"
        )
    return faults.explain(where, reply.status, reply.message)


def _hung_up(
    where: str, address: tuple[str, int], certificate: Tls | None, error: OSError | ProtocolError
) -> InsituError:
    """Why a connection broke before the handshake was answered."""
    if isinstance(error, ProtocolError):
        if certificate is None and tls.speaks_tls(address):
            return AuthenticationError(tls.plain_client(f"Ignite at {where}"))
        return ProtocolError(f"what answers at {where} is not Ignite's client port: {error}")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError) and certificate:
        return tls.refused(f"Ignite at {where}", error, certificate)
    if certificate is None and _is_end(error) and tls.speaks_tls(address):
        return AuthenticationError(tls.plain_client(f"Ignite at {where}"))
    return DatabaseUnavailable(f"Ignite at {where} {why(error)}")


def _is_end(error: Exception) -> bool:
    return isinstance(error, ConnectionError | ssl.SSLEOFError)


def _speaks_plain(address: tuple[str, int]) -> bool:
    """Whether the port answers a handshake without TLS. Only words an error."""
    try:
        with socket.create_connection(address, timeout=5.0) as sock:
            _handshake(sock, None)
    except (OSError, ProtocolError):
        return False
    return True
