"""An epoch over real nodes, interrupted again and again while the table is written elsewhere."""

from __future__ import annotations

import contextlib
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from cassandra import ConsistencyLevel
from cassandra.concurrent import execute_concurrent_with_args

from insitu.checkpoint.records import decode_cursor, encode_cursor
from insitu.contract import Assignment
from insitu.data import Cursor, Order, RankStream
from insitu.databases import Database, ReadLimits, connect
from insitu.databases.cassandra.reading.tokens import token_of
from insitu.errors import DataChanged
from insitu.session.locality import LocalFirst
from testbed.cassandra import Cluster

pytestmark = pytest.mark.cassandra

ROWS = 3000
LIMITS = ReadLimits(page_bytes=1 << 16, buffer_bytes=1 << 18)
ORDER = Order(seed=5, block_rows=32)


@pytest.fixture(scope="module")
def keyspace(cassandra: Cluster) -> str:
    cassandra.keyspace("resuming", replicas=2)
    return "resuming"


def insert(cluster: Cluster, table: str, ids: list[int]) -> None:
    with cluster.session() as session:
        statement = session.prepare(f"INSERT INTO {table} (id) VALUES (?)")
        statement.consistency_level = ConsistencyLevel.ALL  # any replica may be read next
        execute_concurrent_with_args(session, statement, [(number,) for number in ids])


@pytest.fixture
def table(cassandra: Cluster, keyspace: str, request: pytest.FixtureRequest) -> str:
    name = f"{keyspace}.t{abs(hash(request.node.name))}"
    cassandra.cql(f"CREATE TABLE {name} (id bigint PRIMARY KEY, v int)")
    insert(cassandra, name, list(range(ROWS)))
    return name


@contextlib.contextmanager
def database(cluster: Cluster, table: str) -> Iterator[Database]:
    with contextlib.closing(connect(cluster.source(table))) as found:
        yield found


def take(cluster: Cluster, table: str, cursor: Cursor, steps: int) -> tuple[list[int], Cursor]:
    """A process that trains for some steps and is killed; its cursor, as a commit keeps it."""
    taken: list[int] = []
    with database(cluster, table) as opened:
        topology = opened.topology()
        assignment = Assignment(
            job="j",
            generation=1,
            rank=0,
            world_size=1,
            source=cluster.source(table),
            node=topology.nodes[0],
            shards=topology.shards,
            nodes=topology.nodes,
            locality="Preferred",
        )
        readers = LocalFirst(assignment, lambda node: opened.reader(node, LIMITS))
        with contextlib.closing(readers):
            stream = RankStream(topology.shards, cursor, lambda _: readers, readers.schema)
            with contextlib.closing(stream):
                for _ in range(steps):
                    if stream.dry:
                        break
                    batch, used = stream.take(97)
                    taken += batch.column("id").to_pylist()
                    cursor = cursor.after(used)
    return taken, decode_cursor(json.loads(json.dumps(encode_cursor(cursor))))


def elsewhere(cursor: Cursor) -> Callable[[int], bool]:
    """Whether a row would lie outside of every block that is begun."""

    def outside(number: int) -> bool:
        token = token_of([struct.pack(">q", number)])
        spans = [(b.first.number, b.last.number) for b in cursor.blocks.values() if b.last]
        return not any(first < token < last for first, last in spans)

    return outside


def test_rows_that_come_meanwhile_cost_no_row_its_turn(cassandra: Cluster, table: str) -> None:
    cursor = Cursor(order=ORDER)
    found: Counter[int] = Counter()
    shards = 0
    fresh = ROWS
    while not shards or len(cursor.finished) < shards:
        taken, cursor = take(cassandra, table, cursor, 5)
        found.update(taken)
        with database(cassandra, table) as opened:
            shards = len(opened.topology().shards)
        insert(cassandra, table, list(filter(elsewhere(cursor), range(fresh, fresh + 100))))
        fresh += 100
    assert {number: found[number] for number in range(ROWS) if found[number] != 1} == {}
    assert max(found.values()) == 1
    assert len(found) > ROWS


def test_rows_that_come_into_a_begun_block_are_noticed(cassandra: Cluster, table: str) -> None:
    _, cursor = take(cassandra, table, Cursor(order=ORDER), 3)
    inside = [n for n in range(ROWS, 20 * ROWS) if not elsewhere(cursor)(n)]
    insert(cassandra, table, inside[:50])
    with pytest.raises(DataChanged, match="in the middle of"):
        take(cassandra, table, cursor, 100)
