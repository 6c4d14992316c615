"""The order of clustering columns: ours is the servers', for every type that can be one."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insitu.databases import RowPosition, ShardStream, connect
from insitu.databases.cassandra.columns.ordering import Descending, sort_key
from insitu.databases.cassandra.columns.rows import locate
from insitu.databases.cassandra.columns.types import (
    CqlType,
    ListOf,
    MapOf,
    Native,
    TupleOf,
    VectorOf,
)
from insitu.databases.cassandra.protocol.connection import Connection
from insitu.databases.cassandra.protocol.results import parse_rows
from insitu.databases.cassandra.ranges import RING, format_range
from testbed.cassandra import Cluster
from tests.cassandra_values import INT, cell, value_bytes

pytestmark = pytest.mark.cassandra

NATIVES = [kind for kind in Native if kind not in (Native.COUNTER, Native.DURATION)]
TYPES: dict[str, CqlType] = {
    **{kind.value: kind for kind in NATIVES},
    "frozen<list<smallint>>": ListOf(Native.SMALLINT),
    "frozen<map<int, text>>": MapOf(Native.INT, Native.TEXT),
    "frozen<tuple<int, text>>": TupleOf((Native.INT, Native.TEXT)),
    "vector<float, 2>": VectorOf(Native.FLOAT, 2),
    "vector<text, 2>": VectorOf(Native.TEXT, 2),
}


def values(kind: CqlType) -> st.SearchStrategy[bytes]:
    """Bytes that a server takes for a clustering column."""
    match kind:
        case Native.TIMEUUID | Native.UUID:
            versions = st.just(1) if kind is Native.TIMEUUID else st.integers(0, 15)
            return st.builds(
                lambda data, version: data[:6] + bytes([version << 4 | data[6] & 15]) + data[7:],
                st.binary(min_size=16, max_size=16),
                versions,
            )
        case ListOf(item):
            return st.lists(value_bytes(item), max_size=3).map(
                lambda found: INT.pack(len(found)) + b"".join(map(cell, found))
            )
        case MapOf(_, item):
            return st.dictionaries(st.integers(0, 9), value_bytes(item), max_size=3).map(
                lambda found: (
                    INT.pack(len(found))
                    + b"".join(cell(INT.pack(n)) + cell(found[n]) for n in sorted(found))
                )
            )
        case TupleOf():
            return value_bytes(kind).filter(bool)
    return value_bytes(kind)


@pytest.fixture(scope="module")
def connection(cassandra: Cluster) -> Iterator[Connection]:
    cassandra.keyspace("clustering")
    node = cassandra.nodes[0]
    with contextlib.closing(Connection.open(node.host, node.port)) as connection:
        yield connection


@pytest.mark.parametrize("cql", TYPES)
def test_rows_are_in_the_order_that_their_keys_say(
    cassandra: Cluster, connection: Connection, cql: str
) -> None:
    kind = TYPES[cql]
    direction = "DESC" if list(TYPES).index(cql) % 2 else "ASC"
    name = f"clustering.t{list(TYPES).index(cql)}"
    cassandra.cql(
        f"CREATE TABLE {name} (p int, c {cql}, PRIMARY KEY (p, c))"
        f" WITH CLUSTERING ORDER BY (c {direction})"
    )
    insert = connection.prepare(f"INSERT INTO {name} (p, c) VALUES (?, ?)")
    select = connection.prepare(f"SELECT c FROM {name} WHERE p = ?")
    numbers = itertools.count()

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(values(kind), min_size=2, max_size=12, unique_by=lambda v: sort_key(kind, v)))
    def check(found: list[bytes]) -> None:
        partition = INT.pack(next(numbers))
        for value in found:
            connection.execute(insert, [partition, value], page_rows=100)
        for _ in found:
            connection.result(connection.receive())
        connection.execute(select, [partition], page_rows=100)
        body = connection.result(connection.receive())
        assert body is not None
        page = parse_rows(body).page
        (cells,) = locate(page, select.columns)
        there = [cells.value(row) for row in range(page.count)]
        assert there == sorted(
            found, key=lambda value: sort_key(kind, value), reverse=direction == "DESC"
        )
        keys = [sort_key(kind, value) for value in there]
        assert sorted(map(Descending, keys)) == list(map(Descending, sorted(keys, reverse=True)))

    check()
    source = cassandra.source(name)
    with contextlib.closing(connect(source)) as database:
        node = database.topology().nodes[0]
        with contextlib.closing(database.reader(node)) as reader:
            every = positions(reader.open(format_range(RING)))
            for start in range(0, len(every), max(len(every) // 5, 1)):
                assert positions(reader.open(format_range(RING), every[start])) == every[start:]


def positions(stream: ShardStream) -> list[RowPosition]:
    return [stream.keys().position(row) for batch in stream for row in range(batch.num_rows)]
