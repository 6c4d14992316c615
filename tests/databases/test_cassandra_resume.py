"""An epoch over real nodes, interrupted again and again while the table is written elsewhere."""

from __future__ import annotations

import contextlib
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import pytest
from cassandra import ConsistencyLevel
from cassandra.concurrent import execute_concurrent_with_args

from insitu.checkpoint.records import decode_cursor, encode_cursor
from insitu.contract import Assignment
from insitu.data import Cursor, Order, RankStream
from insitu.data.cursor import Digests
from insitu.databases import Database, ReadLimits, connect
from insitu.databases.cassandra.reading.tokens import token_of
from insitu.session.locality import LocalFirst
from insitu.topology import ShardId
from testbed.cassandra import Cluster
from tests.unit.builders import resumed

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


def take(
    cluster: Cluster, table: str, cursor: Cursor, digests: Mapping[ShardId, Digests], steps: int
) -> tuple[list[int], Cursor, dict[ShardId, Digests]]:
    """A process that trains for some steps and is killed; what a commit keeps of it."""
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
            stream = RankStream(
                topology.shards,
                cursor,
                lambda _: readers,
                readers.schema,
                digests=digests,
                tracked=True,
            )
            with contextlib.closing(stream):
                for _ in range(steps):
                    if stream.dry:
                        break
                    batch, used = stream.take(97)
                    taken += batch.column("id").to_pylist()
                    cursor = cursor.after(used)
                    stream.advanced(cursor)
                cursor, kept = resumed(stream, cursor)
    return taken, decode_cursor(json.loads(json.dumps(encode_cursor(cursor)))), kept


def elsewhere(cursor: Cursor) -> Callable[[int], bool]:
    """Whether a row would lie outside of every block that is begun."""

    def outside(number: int) -> bool:
        token = token_of([struct.pack(">q", number)])
        spans = [(b.first.number, b.last.number) for b in cursor.blocks.values() if b.last]
        return not any(first < token < last for first, last in spans)

    return outside


def test_rows_that_come_meanwhile_cost_no_row_its_turn(cassandra: Cluster, table: str) -> None:
    cursor, digests = Cursor(order=ORDER), dict[ShardId, Digests]()
    found: Counter[int] = Counter()
    shards = 0
    fresh = ROWS
    while not shards or len(cursor.finished) < shards:
        taken, cursor, digests = take(cassandra, table, cursor, digests, 5)
        found.update(taken)
        with database(cassandra, table) as opened:
            shards = len(opened.topology().shards)
        insert(cassandra, table, list(filter(elsewhere(cursor), range(fresh, fresh + 100))))
        fresh += 100
    assert {number: found[number] for number in range(ROWS) if found[number] != 1} == {}
    assert max(found.values()) == 1
    assert len(found) > ROWS
