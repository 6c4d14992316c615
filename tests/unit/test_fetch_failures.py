"""What ends a reader's thread reaches whoever waits for rows, whatever it is."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import pytest

from insitu.databases import ReadCounters
from insitu.databases.budget import Budget
from insitu.databases.cassandra.protocol import connection as cassandra
from insitu.databases.cassandra.protocol.messages import HEADER, Consistency, Opcode
from insitu.databases.cassandra.protocol.results import Prepared
from insitu.databases.cassandra.ranges import RING
from insitu.databases.cassandra.reading.fetch import Fetcher as CassandraFetcher
from insitu.databases.cassandra.reading.pages import PageSize as CassandraPageSize
from insitu.databases.cassandra.reading.statement import Select
from insitu.databases.ignite.protocol.connection import RESOURCE_CLOSE, Connection
from insitu.databases.ignite.reading.cursors import Cursors
from insitu.databases.ignite.reading.fetch import Fetcher
from insitu.databases.ignite.reading.keys import EntryKeys
from insitu.databases.ignite.reading.pages import SCAN, PageSize
from tests.ignite_values import NO_TYPES

Answer = Callable[[int, int], bytes]
"""The reply to a request of that id and operation."""


def take(sock: socket.socket, size: int) -> bytes:
    data = sock.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise OSError("the client is gone")
    return data


@contextmanager
def served(serve: Callable[[socket.socket], None]) -> Iterator[Callable[[], socket.socket]]:
    """Sockets to servers that run `serve`, as many as are asked for."""
    threads: list[threading.Thread] = []

    def run(theirs: socket.socket) -> None:
        with theirs, suppress(OSError):
            while True:
                serve(theirs)

    def connect() -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        threads.append(threading.Thread(target=run, args=(theirs,)))
        threads[-1].start()
        return ours

    yield connect
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def reply(request: int, body: bytes, *, refused: str = "") -> bytes:
    head = struct.pack("<qh", request, 1 if refused else 0)
    text = refused.encode()
    body = struct.pack("<ibi", 1, 9, len(text)) + text if refused else body
    return struct.pack("<i", len(head) + len(body)) + head + body


def ignite_page(request: int, op: int) -> bytes:
    """A page of one row whose key and value are null, with more to come."""
    cursor = struct.pack("<q", 7) if op == SCAN else b""
    return reply(request, cursor + struct.pack("<i", 1) + b"\x65\x65" + b"\x01")


@contextmanager
def ignite(answer: Answer, budget: Budget | None = None) -> Iterator[Fetcher]:
    def serve(sock: socket.socket) -> None:
        (size,) = struct.unpack("<i", take(sock, 4))
        op, request = struct.unpack_from("<hq", take(sock, size))
        sock.sendall(answer(request, op))

    with served(serve) as connect:

        def connection() -> Connection:
            return Connection(connect(), "127.0.0.1:10800", UUID(int=1))

        fetcher = Fetcher(
            1,
            connection(),
            connection,
            connections=1,
            cursors=Cursors(1, None),
            size=PageSize(1 << 16),
            budget=budget or Budget(1 << 20, 1 << 16),
            counters=ReadCounters(),
            keys=lambda page: EntryKeys(page, NO_TYPES),
        )
        try:
            yield fetcher
        finally:
            fetcher.close()


ROWS = Select("k", "t", ("id",), ("id",)).range(RING)


@contextmanager
def cassandra_reader(budget: Budget) -> Iterator[CassandraFetcher]:
    def serve(sock: socket.socket) -> None:
        _, _, stream, _, size = HEADER.unpack(take(sock, HEADER.size))
        take(sock, size)
        rows = struct.pack(">iiii", 2, 4, 0, 0)  # no metadata, no columns, no rows
        sock.sendall(HEADER.pack(0x84, 0, stream, Opcode.RESULT, len(rows)) + rows)

    with served(serve) as connect:

        def connection() -> cassandra.Connection:
            return cassandra.Connection(connect(), "127.0.0.1:9042")

        fetcher = CassandraFetcher(
            connection(),
            connection,
            lambda _: None,
            {ROWS.cql: Prepared(b"id", ())},
            connections=1,
            consistency=Consistency.LOCAL_ONE,
            size=CassandraPageSize(1 << 16),
            budget=budget,
            timeout=20.0,
            counters=ReadCounters(),
        )
        try:
            yield fetcher
        finally:
            fetcher.close()


@dataclass(slots=True)
class NoRoom(Budget):
    """A budget that fails when a page arrives, as anything in a thread could."""

    def arrive(self, asked: int, actual: int) -> None:  # noqa: ARG002 - it never gets so far
        raise MemoryError("no room for a page")


def broken(request: int) -> bytes:
    return struct.pack("<i", 3) + b"abc"


def lost(request: int) -> bytes:
    return reply(request, b"", refused="Partition can not be reserved")


def forbidden(request: int) -> bytes:
    return reply(request, b"", refused="Authorization failed")


def unknown(request: int) -> bytes:
    return reply(request, b"", refused="no such cursor")


@pytest.mark.parametrize("closed", [broken, lost, forbidden, unknown])
def test_a_cursor_that_cant_be_closed_keeps_no_other_scan_waiting(
    closed: Callable[[int], bytes],
) -> None:
    def answer(request: int, op: int) -> bytes:
        return closed(request) if op == RESOURCE_CLOSE else ignite_page(request, op)

    with ignite(answer) as fetcher:
        first = fetcher.open(0, None)
        assert fetcher.take(first) is not None
        fetcher.drop(first)
        assert fetcher.take(fetcher.open(1, None)) is not None


def test_whatever_ends_a_thread_ends_every_scan_of_ignite_with_its_reason() -> None:
    with ignite(ignite_page, NoRoom(1 << 20, 1 << 16)) as fetcher:
        for partition in range(3):
            with pytest.raises(MemoryError, match="no room for a page"):
                fetcher.take(fetcher.open(partition, None))


def test_whatever_ends_a_thread_ends_every_scan_of_cassandra_with_its_reason() -> None:
    with cassandra_reader(NoRoom(1 << 20, 1 << 16)) as fetcher:
        for _ in range(3):
            with pytest.raises(MemoryError, match="no room for a page"):
                fetcher.take(fetcher.open(ROWS))
