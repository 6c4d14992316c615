"""Ways to read the same ranges of one Cassandra node: Insitu's, bare bodies, and two drivers.

All keep as many ranges under way, over as many connections and with pages of as many rows, as
Insitu's reader does. Connecting and preparing is not measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import acsylla  # type: ignore[import-untyped]
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import PreparedStatement, tuple_factory

from benchmarks.ways import drain
from insitu.databases import Database, ReadLimits
from insitu.databases.cassandra.protocol.connection import Connection
from insitu.databases.cassandra.protocol.messages import HEADER, long_value
from insitu.databases.cassandra.protocol.results import Prepared
from insitu.databases.cassandra.ranges import TokenRange, parse_range
from insitu.databases.cassandra.reading.pages import IN_FLIGHT
from insitu.databases.cassandra.reading.statement import Select
from insitu.topology import DatabaseNode, ShardId

_INT = struct.Struct(">i")
_MORE_PAGES = 2


@dataclass(frozen=True, slots=True)
class Table:
    """What is read: pages of `page_rows` rows, which are about `page_bytes`."""

    database: Database
    node: DatabaseNode
    select: Select
    shards: tuple[ShardId, ...]
    page_rows: int
    page_bytes: int

    @property
    def ranges(self) -> list[TokenRange]:
        return [parse_range(shard) for shard in self.shards]


@dataclass(frozen=True, slots=True)
class Run:
    """`rows` rows in `seconds`, of which this process was busy for `cpu_seconds`."""

    rows: int
    seconds: float
    cpu_seconds: float


def insitu(table: Table, connections: int) -> Run:
    """The reader as training uses it: Arrow columns, some ranges mixed, the next ones ahead."""
    limits = ReadLimits(
        page_bytes=table.page_bytes, buffer_bytes=8 * table.page_bytes, connections=connections
    )
    with contextlib.closing(table.database.reader(table.node, limits)) as reader:
        return _timed(lambda: drain(reader, table.shards))


def bare_bodies(table: Table, connections: int) -> Run:
    """Each body received into the same memory, and nothing decoded."""
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(connections))
        opened = [
            stack.enter_context(Connection.open(table.node.host, table.node.port))
            for _ in range(connections)
        ]
        pages = [memoryview(bytearray(4 * table.page_bytes + (1 << 20))) for _ in opened]
        receive = partial(_receive_all, table, opened[0].prepare(table.select.cql))
        parts = [table.ranges[number::connections] for number in range(connections)]
        return _timed(lambda: sum(pool.map(receive, opened, pages, parts)))


def _receive_all(
    table: Table,
    prepared: Prepared,
    connection: Connection,
    page: memoryview,
    ranges: Sequence[TokenRange],
) -> int:
    sock = connection._sock
    sock.settimeout(None)
    waiting = deque(ranges)
    flight: dict[int, TokenRange] = {}
    rows = 0

    def ask(tokens: TokenRange, state: bytes | None) -> None:
        values = [long_value(tokens.start), long_value(tokens.end)]
        stream = connection.execute(prepared, values, page_rows=table.page_rows, paging_state=state)
        flight[stream] = tokens

    while waiting or flight:
        while waiting and len(flight) < IN_FLIGHT:
            ask(waiting.popleft(), None)
        _fill(sock, page[: HEADER.size])
        _, _, stream, _, size = HEADER.unpack_from(page)
        connection._flight.discard(stream)
        _fill(sock, page[:size])
        at, state = 12, None
        if _INT.unpack_from(page, 4)[0] & _MORE_PAGES:
            (length,) = _INT.unpack_from(page, at)
            state = bytes(page[at + 4 : at + 4 + length])
            at += 4 + length
        rows += _INT.unpack_from(page, at)[0]
        tokens = flight.pop(stream)
        if state is not None:
            ask(tokens, state)
    return rows


def _fill(sock: socket.socket, into: memoryview) -> None:
    while into:
        count = sock.recv_into(into)
        if not count:
            raise ConnectionResetError("the server closed the connection")
        into = into[count:]


def default_driver(table: Table, connections: int) -> Run:
    """cassandra-driver with the handler it comes with, compiled, giving tuples."""
    with driver(table) as session, ThreadPoolExecutor(connections * IN_FLIGHT) as pool:
        prepared = session.prepare(table.select.cql)
        prepared.fetch_size = table.page_rows
        count = partial(_count_rows, session, prepared)
        return _timed(lambda: sum(pool.map(count, table.ranges)))


def _count_rows(session: Session, prepared: PreparedStatement, tokens: TokenRange) -> int:
    return sum(1 for _ in session.execute(prepared, (tokens.start, tokens.end)))


@contextlib.contextmanager
def driver(table: Table) -> Iterator[Session]:
    """A session of cassandra-driver that asks only the table's node."""
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([table.node.host]),
        request_timeout=60.0,
        row_factory=tuple_factory,
    )
    cluster = Cluster(
        [table.node.host],
        port=table.node.port,
        protocol_version=4,
        compression=False,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    with cluster:
        yield cluster.connect()


def compiled_driver(table: Table, connections: int) -> Run:
    """acsylla, a driver in C++, giving tuples."""
    return asyncio.run(_acsylla(table, connections))


async def _acsylla(table: Table, connections: int) -> Run:
    cluster = acsylla.create_cluster(
        [table.node.host],
        port=table.node.port,
        protocol_version=4,
        core_connections_per_host=connections,
        request_timeout=60.0,
        log_level="error",  # it warns that this is not ScyllaDB
    )
    session = await cluster.create_session()
    prepared = await session.create_prepared(table.select.cql)
    waiting = deque(table.ranges)

    async def take_turns() -> int:
        rows = 0
        while waiting:
            tokens = waiting.popleft()
            statement = prepared.bind([tokens.start, tokens.end], page_size=table.page_rows)
            while True:
                result = await session.execute(statement)
                rows += sum(1 for row in result.all() if row.as_tuple())
                if not result.has_more_pages():
                    break
                statement.set_page_state(result.page_state())
        return rows

    async def read_all() -> int:
        return sum(await asyncio.gather(*(take_turns() for _ in range(connections * IN_FLIGHT))))

    run = await _timed_async(read_all)
    await session.close()
    return run


def _timed(read: Callable[[], int]) -> Run:
    start, cpu = time.perf_counter(), time.process_time()
    rows = read()
    return Run(rows, time.perf_counter() - start, time.process_time() - cpu)


async def _timed_async(read: Callable[[], Awaitable[int]]) -> Run:
    start, cpu = time.perf_counter(), time.process_time()
    rows = await read()
    return Run(rows, time.perf_counter() - start, time.process_time() - cpu)
