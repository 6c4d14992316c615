"""One connection of Cassandra's native protocol, version 4, for reading.

Version 5 would cut every page into segments of 128 KiB with checksums of their own.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from insitu.databases import Credentials, Tls, tls
from insitu.databases.cassandra.columns.quick import quick_batch
from insitu.databases.cassandra.protocol import messages
from insitu.databases.cassandra.protocol.frames import LONGEST, Frame, read_frame
from insitu.databases.cassandra.protocol.handshake import error_of, open_socket
from insitu.databases.cassandra.protocol.messages import Consistency, Opcode
from insitu.databases.cassandra.protocol.results import (
    Prepared,
    Rows,
    parse_prepared,
    parse_rows,
)
from insitu.databases.sockets import spelled, why
from insitu.errors import DatabaseUnavailable, InsituError, ProtocolError

_STREAMS: Final = 1 << 15
#: No answer about tables and statements is longer.
CONTROL_BYTES: Final = 16 << 20


class Connection:
    """A logged-in connection to one node. One thread at a time; `close` from any.

    Requests on several streams may be under way at once; their replies come in any order.
    """

    def __init__(self, sock: socket.socket, where: str, certificate: Tls | None = None) -> None:
        """Takes over a socket that is logged in; use `open`."""
        self.where = where
        self._sock = sock
        self._tls = certificate
        self._next_stream = 0
        self._flight: set[int] = set()
        self._early: deque[Frame] = deque()
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
    ) -> Connection:
        """Connects and logs in. `timeout` is the longest silence, now and later, in seconds.

        Raises:
            AuthenticationError: wrong or missing credentials, a certificate that is not accepted
                on either side, or TLS on one side only.
            DatabaseUnavailable: nothing answers.
            ProtocolError: what answers is not Cassandra, or one too old.
        """
        return cls(open_socket(host, port, credentials, tls, timeout), spelled(host, port), tls)

    def prepare(self, cql: str) -> Prepared:
        """Has the server prepare a statement; its id holds for all connections to the node.

        Raises:
            Refused: the statement names something that is not there.
            AuthenticationError: the role may not run it.
        """
        return parse_prepared(self._request(Opcode.PREPARE, messages.prepare(cql)))

    def query(self, cql: str) -> pa.RecordBatch:
        """The rows of a short answer, on one page. Raises as `prepare` does."""
        rows: Rows = parse_rows(self._request(Opcode.QUERY, messages.query(cql)))
        return quick_batch(rows.page, rows.columns)

    def execute(
        self,
        prepared: Prepared,
        values: Sequence[bytes],
        *,
        page_rows: int,
        paging_state: bytes | None = None,
        consistency: Consistency = Consistency.LOCAL_ONE,
    ) -> int:
        """Asks for a page of `page_rows` rows at most, and returns the stream of the reply."""
        body = messages.execute(
            prepared.id,
            values,
            consistency=consistency,
            page_rows=page_rows,
            paging_state=paging_state,
        )
        return self._send(Opcode.EXECUTE, body)

    def receive(self, limit: int = LONGEST) -> Frame:
        """The next reply, to whichever request; one over `limit` bytes comes without its body.

        Raises:
            DatabaseUnavailable: the connection broke or fell silent; it is closed.
            ProtocolError: the reply is no message of this protocol.
        """
        if self._early:
            return self._early.popleft()
        began = time.monotonic()
        while True:
            try:
                frame = read_frame(self._sock, limit)
            except OSError as error:
                raise self._broken(error) from error
            except ProtocolError as error:
                self.close()
                raise ProtocolError(f"Cassandra at {self.where}: {error}") from error
            if frame.stream < 0:  # an event, of a kind that nobody asked for
                if time.monotonic() - began > (self._sock.gettimeout() or math.inf):
                    raise self._broken(TimeoutError())
                continue
            if frame.stream not in self._flight:
                self.close()
                raise ProtocolError(
                    f"Cassandra at {self.where} answered a request that was never made "
                    f"({frame.stream})"
                )
            self._flight.discard(frame.stream)
            return frame

    def result(self, frame: Frame) -> memoryview | None:
        """The body of a `RESULT`; None where it was over the limit.

        Raises:
            ServerError, Unprepared, Refused: see there; the server refused the request.
            AuthenticationError: the role may not do this.
            DatabaseUnavailable: the server can't give these rows now.
        """
        if frame.opcode == Opcode.ERROR:
            raise error_of(self.where, frame)
        if frame.opcode != Opcode.RESULT:
            raise ProtocolError(f"Cassandra at {self.where} answered with kind {frame.opcode:#04x}")
        return frame.body

    def close(self) -> None:
        """Ends the connection. Safe to call twice."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _request(self, opcode: Opcode, body: bytes) -> memoryview:
        """The result of a request; replies to others that come before it are kept."""
        stream = self._send(opcode, body)
        others: deque[Frame] = deque()
        while (frame := self.receive(CONTROL_BYTES)).stream != stream:
            others.append(frame)
        self._early.extend(others)
        found = self.result(frame)
        if found is None:
            raise ProtocolError(
                f"Cassandra at {self.where} answered with {frame.size:,} bytes, and "
                f"{CONTROL_BYTES:,} at most are taken here"
            )
        return found

    def _send(self, opcode: Opcode, body: bytes) -> int:
        while self._next_stream in self._flight:
            self._next_stream = (self._next_stream + 1) % _STREAMS
        stream = self._next_stream
        self._next_stream = (stream + 1) % _STREAMS
        try:
            self._sock.sendall(messages.frame(stream, opcode, body))
        except OSError as error:
            raise self._broken(error) from error
        self._flight.add(stream)
        return stream

    def _broken(self, error: OSError) -> InsituError:
        closed_here = self._closed
        self.close()
        server = f"Cassandra at {self.where}"
        if closed_here:
            return DatabaseUnavailable(f"the connection to {server} is closed")
        if isinstance(error, ssl.SSLError) and self._tls and "ALERT" in (error.reason or ""):
            return tls.refused(server, error, self._tls)
        return DatabaseUnavailable(f"{server} {why(error)}")
