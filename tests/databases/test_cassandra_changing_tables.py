"""Epochs over tables that are written meanwhile, interrupted again and again."""

from __future__ import annotations

import contextlib
import json
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from cassandra import ConsistencyLevel
from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args

from insitu.checkpoint.records import decode_cursor, encode_cursor
from insitu.contract import Assignment
from insitu.data import Cursor, Order, RankStream
from insitu.data.cursor import Digests
from insitu.databases import ReadLimits, connect
from insitu.session.locality import LocalFirst
from insitu.topology import ShardId
from testbed.cassandra import Cluster

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(600)]

LIMITS = ReadLimits(page_bytes=1 << 16, buffer_bytes=1 << 18)
ORDER = Order(seed=5, block_rows=32)
Key = tuple[int, ...]
"""Partition and, where rows are in partitions, two clustering columns."""


@dataclass
class Table:
    """A table that is written while it is read, and what is known of its rows."""

    session: Session
    name: str
    columns: Sequence[str]
    keys: Callable[[random.Random], Key]
    choose: random.Random
    there: set[Key] = field(default_factory=set)
    always: set[Key] = field(default_factory=set)

    def insert(self, keys: set[Key]) -> None:
        """Rows with values of 300 bytes, or new values for those that are there."""
        names, marks = ", ".join(self.columns), "?, " * len(self.columns)
        rows = [(*key, self.choose.randbytes(300)) for key in keys]
        self._run(f"INSERT INTO {self.name} ({names}, v) VALUES ({marks}?)", rows)
        self.there |= keys

    def delete(self, keys: set[Key]) -> None:
        where = " AND ".join(f"{name} = ?" for name in self.columns)
        self._run(f"DELETE FROM {self.name} WHERE {where}", list(keys))
        self.there -= keys
        self.always -= keys

    def begin(self, rows: int) -> None:
        """What is there now counts as there all through, until it is deleted."""
        fresh: set[Key] = set()
        while len(fresh) < rows:
            fresh.add(self.keys(self.choose))
        self.insert(fresh)
        self.always = set(fresh)

    def change(self, most: int = 40) -> None:
        """Some rows come, some go, some get another value."""
        there = sorted(self.there)
        picked = self.choose.sample(there, min(self.choose.randrange(most), len(there)))
        self.delete(set(picked[::2]))
        self.insert(set(picked[1::2]))
        self.insert({self.keys(self.choose) for _ in range(self.choose.randrange(most))})

    def _run(self, cql: str, rows: Sequence[Sequence[object]]) -> None:
        statement = self.session.prepare(cql)
        statement.consistency_level = ConsistencyLevel.ALL  # any replica may be read next
        for success, problem in execute_concurrent_with_args(self.session, statement, rows):
            assert success, problem


def small(choose: random.Random) -> Key:
    return (choose.randrange(10_000),)


def wide(choose: random.Random) -> Key:
    """Nine of ten rows are in one of three partitions."""
    large = choose.random() < 0.9
    return (choose.randrange(3 if large else 500), choose.randrange(9), choose.randrange(1000))


KINDS = {"small": "", "up": "a ASC, b ASC", "down": "a DESC, b DESC", "mixed": "a ASC, b DESC"}


@pytest.fixture(scope="module")
def session(cassandra: Cluster) -> Iterator[Session]:
    cassandra.keyspace("changing", replicas=2)
    with cassandra.session() as session:
        yield session


@pytest.fixture(params=KINDS)
def table(session: Session, request: pytest.FixtureRequest) -> Table:
    kind, order = request.param, KINDS[request.param]
    name = f"changing.{kind}_{zlib.crc32(request.node.name.encode())}"
    columns = ("p", "a", "b") if order else ("p",)
    types = ", ".join(f"{column} int" for column in columns)
    options = f" WITH CLUSTERING ORDER BY ({order})" if order else ""
    key = ", ".join(columns)
    session.execute(f"CREATE TABLE {name} ({types}, v blob, PRIMARY KEY ({key})){options}")
    choose = random.Random(request.node.name)
    return Table(session, name, columns, wide if order else small, choose)


@dataclass(frozen=True)
class Commit:
    """What a process leaves for the next one."""

    cursor: Cursor
    digests: dict[ShardId, Digests] = field(default_factory=dict)


class Trainer:
    """A process that takes rows from a commit on, and is killed."""

    def __init__(self, cluster: Cluster, table: Table) -> None:
        self.cluster = cluster
        self.table = table
        self.taken: Counter[Key] = Counter()

    def run(self, commit: Commit, steps: int, batch: int = 97) -> Commit | None:
        """Some steps, while the table changes; None once the epoch is over."""
        source = self.cluster.source(self.table.name)
        with contextlib.closing(connect(source)) as opened:
            topology = opened.topology()
            assignment = Assignment(
                job="j",
                generation=1,
                rank=0,
                world_size=1,
                source=source,
                node=topology.nodes[0],
                shards=topology.shards,
                nodes=topology.nodes,
                locality="Preferred",
            )
            readers = LocalFirst(assignment, lambda node: opened.reader(node, LIMITS))
            stream = RankStream(
                topology.shards,
                commit.cursor,
                lambda _: readers,
                readers.schema,
                digests=commit.digests,
                tracked=True,
            )
            with contextlib.closing(readers), contextlib.closing(stream):
                cursor = commit.cursor
                for _ in range(steps):
                    rows, used = stream.take(batch)
                    keys = [rows.column(name).to_pylist() for name in self.table.columns]
                    self.taken.update(zip(*keys, strict=True))
                    cursor = cursor.after(used)
                    stream.advanced(cursor)
                    if stream.dry:
                        return None
                    self.table.change()
                begun = stream.begun(cursor)
        blocks = {shard: each.block for shard, each in begun.items()}
        kept = json.dumps(encode_cursor(replace(cursor, blocks=blocks)))
        return Commit(
            decode_cursor(json.loads(kept)), {shard: each.taken for shard, each in begun.items()}
        )


def test_rows_that_are_there_all_through_are_taken_once_and_others_at_most_once(
    cassandra: Cluster, table: Table
) -> None:
    table.begin(1500)
    trainer = Trainer(cassandra, table)
    commit: Commit | None = Commit(Cursor(order=ORDER))
    processes = 0
    while commit is not None:
        commit = trainer.run(commit, steps=table.choose.randrange(1, 6))
        table.change(200)
        processes += 1
    assert processes > 3
    assert {key for key in table.always if trainer.taken[key] != 1} == set()
    assert max(trainer.taken.values()) == 1
    assert len(trainer.taken) > len(table.always)
