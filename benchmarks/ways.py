"""Three ways to read the same partitions of one node: Insitu's reader, a bare socket, pyignite.

Each reads all that it is given over `connections` connections and returns MB/s of the wire.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyignite

from insitu.databases import Reader, ReadLimits
from insitu.databases.ignite import IgniteDatabase
from insitu.databases.ignite.binary.hashes import cache_id
from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.reading.pages import NEXT_PAGE, SCAN, cursor_request, scan_request
from insitu.topology import DatabaseNode, ShardId

#: As many shards as a training batch mixes, and as many again opened ahead.
_WINDOW = 4

_REQUEST = struct.Struct("<ihq")
_LENGTH = struct.Struct("<i")
_REPLY_HEAD = 10
_TOPOLOGY_HEAD = 12


@dataclass(frozen=True, slots=True)
class Table:
    """What is read: `rows` rows of `row_bytes` bytes on the wire, in pages of `page_rows`."""

    database: IgniteDatabase
    node: DatabaseNode
    name: str
    shards: tuple[ShardId, ...]
    rows: int
    row_bytes: int
    page_bytes: int

    @property
    def page_rows(self) -> int:
        return max(1, self.page_bytes // self.row_bytes)


def insitu(table: Table, connections: int) -> float:
    """The reader as training uses it: some shards side by side, the next ones opened ahead."""
    limits = ReadLimits(
        page_bytes=table.page_bytes, buffer_bytes=8 * table.page_bytes, connections=connections
    )
    reader = table.database.reader(table.node, limits)
    start = time.perf_counter()
    rows = drain(reader, table.shards)
    seconds = time.perf_counter() - start
    reader.close()
    _check_rows(table, rows)
    return _megabytes(table, rows) / seconds


def drain(reader: Reader, shards: Sequence[ShardId]) -> int:
    """Reads all of `shards` as training does, and returns how many rows they have."""
    waiting = deque(shards)
    ahead = deque(reader.open(waiting.popleft()) for _ in shards[: 2 * _WINDOW])
    window = deque(iter(ahead.popleft()) for _ in range(min(_WINDOW, len(ahead))))
    rows = 0
    while window:
        stream = window.popleft()
        batch = next(stream, None)
        if batch is not None:
            rows += batch.num_rows
            window.append(stream)
            continue
        if waiting:
            ahead.append(reader.open(waiting.popleft()))
        if ahead:
            window.append(iter(ahead.popleft()))
    return rows


def bare_socket(table: Table, connections: int) -> float:
    """The same pages, each received into the same memory, and nothing decoded."""
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(connections))
        opened = [
            stack.enter_context(Connection.open(table.node.host, table.node.port))
            for _ in range(connections)
        ]
        pages = [bytearray(2 * table.page_bytes + (1 << 20)) for _ in opened]
        parts = [table.shards[number::connections] for number in range(connections)]
        start = time.perf_counter()
        rows = sum(pool.map(partial(_receive_all, table), opened, pages, parts))
        seconds = time.perf_counter() - start
    _check_rows(table, rows)
    return _megabytes(table, rows) / seconds


def pyignite_scan(table: Table, most_shards: int) -> float:
    """The scan of pyignite; it is slow, so of the first `most_shards` shards only."""
    client = pyignite.Client(partition_aware=False)
    with client.connect(table.node.host, table.node.port):
        cache = client.get_cache(table.name)
        start = time.perf_counter()
        rows = 0
        for shard in table.shards[:most_shards]:
            with cache.scan(table.page_rows, partitions=int(shard), local=True) as cursor:
                rows += sum(1 for _ in cursor)
        seconds = time.perf_counter() - start
    return _megabytes(table, rows) / seconds


def _receive_all(
    table: Table, connection: Connection, memory: bytearray, shards: Sequence[ShardId]
) -> int:
    sock = connection._sock
    sock.settimeout(None)
    page = memoryview(memory)

    def ask(op: int, body: bytes) -> memoryview:
        sock.sendall(_REQUEST.pack(10 + len(body), op, 0) + body)
        _receive(sock.recv_into, page[:4])
        (length,) = _LENGTH.unpack_from(page)
        _receive(sock.recv_into, page[:length])
        topology = _TOPOLOGY_HEAD if page[8] & 2 else 0
        return page[_REPLY_HEAD + topology : length]

    rows = 0
    for shard in shards:
        body = ask(SCAN, scan_request(cache_id(table.name), int(shard), table.page_rows))
        cursor, count = struct.unpack_from("<qi", body)
        rows += count
        while body[-1]:
            body = ask(NEXT_PAGE, cursor_request(cursor))
            rows += _LENGTH.unpack_from(body)[0]
    return rows


def _receive(receive: Callable[[memoryview], int], into: memoryview) -> None:
    while into:
        count = receive(into)
        if not count:
            raise ConnectionResetError("the server closed the connection")
        into = into[count:]


def _check_rows(table: Table, rows: int) -> None:
    if rows != table.rows:
        raise AssertionError(f"{rows} rows of {table.name} were read, and {table.rows} are there")


def _megabytes(table: Table, rows: int) -> float:
    return rows * table.row_bytes / 1e6
