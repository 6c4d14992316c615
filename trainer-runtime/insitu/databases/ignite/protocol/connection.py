"""One connection of Ignite's binary client protocol, version 1.7.0.

Source of the format: Apache Ignite documentation, "Binary Client Protocol". Little endian
throughout; every message starts with its length (int32, not counting itself).

    request   int16 operation | int64 request id | body
    reply     int64 request id | int16 flags | [topology: int64, int32] | [status: int32, string]
              | body
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import struct
import time
from typing import Final
from uuid import UUID

from insitu.databases import Credentials, Tls
from insitu.databases.ignite.protocol import faults
from insitu.databases.ignite.protocol.frames import LENGTH, read_frame, read_string
from insitu.databases.ignite.protocol.handshake import open_socket
from insitu.databases.sockets import spelled, why
from insitu.databases.tls import refused
from insitu.errors import DatabaseUnavailable, InsituError, ProtocolError

HEARTBEAT = 1
RESOURCE_CLOSE = 0

#: No answer about nodes, tables and partitions is longer, and the operator has to hold it.
CONTROL_BYTES: Final = 16 << 20

_FLAG_ERROR = 1
_FLAG_TOPOLOGY = 2
_FLAG_NOTIFICATION = 4

_REQUEST = struct.Struct("<ihq")
_REPLY = struct.Struct("<qh")
_TOPOLOGY = struct.Struct("<qi")


class Connection:
    """A logged-in connection to one server node. One thread at a time; `close` from any.

    `node` is the node's own id of this run (it changes with every restart). `topology_version`
    is the newest affinity version that any reply has announced, `(major, minor)`, and None before
    the first reply; the server announces each version once per connection.
    """

    def __init__(
        self,
        sock: socket.socket,
        where: str,
        node: UUID,
        certificate: Tls | None = None,
        limit: int = CONTROL_BYTES,
    ) -> None:
        """Takes over a socket whose handshake is done; use `open`."""
        self.node = node
        self.where = where
        self.topology_version: tuple[int, int] | None = None
        self._sock = sock
        self._tls = certificate
        self._limit = limit
        self._next_id = 1
        self._early: dict[int, memoryview] = {}
        self._closed = False

    @classmethod
    def open(
        cls,
        host: str,
        port: int,
        *,
        credentials: Credentials | None = None,
        tls: Tls | None = None,
        timeout: float = 30.0,
        limit: int = CONTROL_BYTES,
    ) -> Connection:
        """Connects and logs in, waiting for a node in start-up until `timeout` seconds are over.

        `timeout` later is the longest silence in the middle of a reply, and `limit` how many bytes
        a reply may have.

        Raises:
            AuthenticationError: wrong or missing credentials, a certificate that is not accepted
                on either side, or TLS on one side only.
            DatabaseUnavailable: nothing answers, or the node is not ready in time.
            ProtocolError: what answers is not Ignite, or one too old.
        """
        sock, node = open_socket(host, port, credentials, tls, timeout)
        return cls(sock, spelled(host, port), node, tls, limit)

    def request(
        self, op: int, body: bytes | bytearray = b"", limit: int | None = None
    ) -> memoryview:
        """`send` and `receive` in one."""
        return self.receive(self.send(op, body), limit)

    def send(self, op: int, body: bytes | bytearray = b"") -> int:
        """Sends a request and returns its id for `receive`, without waiting for the reply."""
        request_id = self._next_id
        self._next_id += 1
        head = _REQUEST.pack(10 + len(body), op, request_id)
        try:
            if len(body) > 1 << 16:
                self._sock.sendall(head)
                self._sock.sendall(body)
            else:
                self._sock.sendall(head + body)
        except OSError as error:
            raise self._broken(error) from error
        return request_id

    def receive(self, request_id: int, limit: int | None = None) -> memoryview:
        """The body of the reply to `request_id`, in a buffer of its own that stays valid.

        `limit` is how many bytes it may have, where that is not what the connection takes.

        Raises:
            TooLarge: the reply is over the limit; the connection is closed.
            ServerError: the server refused the request for a reason without a class of its own.
            NotOwner: the node holds no readable copy of the partition asked for.
            DataLost: the partition has lost all its copies.
            AuthenticationError: the user may not do this.
            DatabaseUnavailable: the connection broke or fell silent; it is closed.
            ProtocolError: the reply is no message of this protocol.
        """
        began = time.monotonic()
        while (frame := self._early.pop(request_id, None)) is None:
            try:
                frame = read_frame(self._sock, limit=limit or self._limit)
            except OSError as error:
                raise self._broken(error) from error
            except ProtocolError as error:
                self.close()
                raise type(error)(f"Ignite at {self.where}: {error}") from error
            reply_id, flags = _REPLY.unpack_from(frame)
            if flags & _FLAG_NOTIFICATION:
                if time.monotonic() - began > (self._sock.gettimeout() or math.inf):
                    raise self._broken(TimeoutError())  # It only says what nobody asked for.
                continue
            if reply_id == request_id:
                break
            if reply_id >= self._next_id:
                self.close()
                raise ProtocolError(
                    f"Ignite at {self.where} answered a request that was never made ({reply_id})"
                )
            self._early[reply_id] = frame
        try:
            return self._body(frame)
        except (struct.error, IndexError) as error:
            self.close()
            raise ProtocolError(f"Ignite at {self.where} sent a truncated reply") from error

    def close(self) -> None:
        """Ends the connection and with it all its server cursors. Safe to call twice."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._early.clear()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _body(self, frame: memoryview) -> memoryview:
        _, flags = _REPLY.unpack_from(frame)
        offset = _REPLY.size
        if flags & _FLAG_TOPOLOGY:
            major, minor = _TOPOLOGY.unpack_from(frame, offset)
            self.topology_version = (major, minor)
            offset += _TOPOLOGY.size
        if flags & _FLAG_ERROR:
            (status,) = LENGTH.unpack_from(frame, offset)
            text, _ = read_string(frame, offset + 4)
            raise faults.explain(self.where, status, text)
        return frame[offset:]

    def _broken(self, error: OSError) -> InsituError:
        closed_here = self._closed
        self.close()
        if closed_here:
            return DatabaseUnavailable(f"the connection to Ignite at {self.where} is closed")
        if isinstance(error, ssl.SSLError) and self._tls and "ALERT" in (error.reason or ""):
            return refused(f"Ignite at {self.where}", error, self._tls)
        return DatabaseUnavailable(f"Ignite at {self.where} {why(error)}")
