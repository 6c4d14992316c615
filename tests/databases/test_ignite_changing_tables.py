"""Epochs over tables that are written meanwhile, by servers whose order of rows is asked for."""

from __future__ import annotations

import contextlib
import decimal
import itertools
import json
import random
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pytest

from insitu.checkpoint.records import decode_cursor, encode_cursor
from insitu.contract import Assignment
from insitu.data import Cursor, Order, RankStream
from insitu.data.cursor import Digests
from insitu.databases import Database, ReadLimits, RowPosition, connect
from insitu.databases.ignite.reading.reader import IgniteReader
from insitu.session.locality import LocalFirst
from insitu.topology import ShardId
from testbed.ignite import Cluster

pytestmark = [pytest.mark.ignite, pytest.mark.timeout(600)]

LIMITS = ReadLimits(page_bytes=1 << 16, buffer_bytes=1 << 18)
ORDER = Order(seed=5, block_rows=32)

#: 64 texts of one Java hash: "Aa" and "BB" have the same.
ALIKE = ["".join(parts) for parts in itertools.product(["Aa", "BB"], repeat=6)]
#: Numbers of one Java hash: the halves of a long are folded into one another.
FOLDED = [(high << 32) | (high ^ 7) for high in range(64)]
MOMENTS = np.arange(0, 400_000, 997)

KEYS: dict[str, pa.Array] = {
    "text": pa.array([*ALIKE, *(f"é€{n}" for n in range(300)), ""]),
    "long": pa.array(sorted({*FOLDED, *range(-300, 300)}), pa.int64()),
    "int": pa.array([*range(-300, 300), 2**31 - 1, -(2**31)], pa.int32()),
    "short": pa.array(range(-300, 300), pa.int16()),
    "byte": pa.array(range(-128, 128), pa.int8()),
    "bool": pa.array([False, True]),
    "uuid": pa.array([uuid.UUID(int=n * 2**100 + n) for n in range(1, 300)], pa.uuid()),
    "timestamp": pa.array(MOMENTS * 1_000_003, pa.timestamp("ns")),
    "decimal": pa.array([decimal.Decimal(n**5) / 1000 for n in range(-200, 200)]),
}


@contextlib.contextmanager
def opened(cluster: Cluster, table: str) -> Iterator[Database]:
    with contextlib.closing(connect(cluster.source(table))) as database:
        yield database


def load(
    cluster: Cluster, table: str, rows: pa.RecordBatch, key: list[str], partitions: int
) -> None:
    with opened(cluster, table) as database:
        options = {"template": f"p{partitions}", "backups": "1"}
        with contextlib.closing(database.writer(rows.schema, key=key, options=options)) as writer:
            writer.write(rows)


def positions(cluster: Cluster, table: str) -> tuple[list[object], list[RowPosition]]:
    """Of all rows of a table of one partition."""
    keys: list[object] = []
    found: list[RowPosition] = []
    with opened(cluster, table) as database:
        topology = database.topology()
        node = topology.node[topology.shards[0].owners[0]]
        with contextlib.closing(database.reader(node, LIMITS)) as reader:
            stream = reader.open(ShardId("0"))
            for batch in stream:
                keys += batch.column("x").to_pylist()
                found += [stream.keys().position(row) for row in range(batch.num_rows)]
    return keys, found


def rest(cluster: Cluster, table: str, start: RowPosition) -> list[object]:
    with opened(cluster, table) as database:
        topology = database.topology()
        node = topology.node[topology.shards[0].owners[0]]
        with contextlib.closing(database.reader(node, LIMITS)) as reader:
            rows = reader.open(ShardId("0"), start)
            return [x for batch in rows for x in batch.column("x").to_pylist()]


def check_from_everywhere(cluster: Cluster, table: str, rows: int) -> None:
    """Reading goes on from any row, wherever that stands among rows of the same hash."""
    keys, found = positions(cluster, table)
    assert len(keys) == rows
    numbers = [position.number for position in found]
    assert numbers == sorted(numbers)
    choose = random.Random(1)
    for start in sorted({0, rows - 1, *(choose.randrange(rows) for _ in range(12))}):
        assert rest(cluster, table, found[start]) == keys[start:]


@pytest.mark.parametrize("kind", KEYS)
def test_rows_lie_where_their_hash_says(ignite: Cluster, kind: str) -> None:
    keys = KEYS[kind]
    table = f"KEYS_{kind.upper()}"
    rows = pa.record_batch({"id": keys, "x": pa.array(range(len(keys)), pa.int32())})
    load(ignite, table, rows, ["id"], 1)
    check_from_everywhere(ignite, table, len(keys))


def test_rows_of_compound_keys_lie_where_their_objects_say(ignite: Cluster) -> None:
    rows = pa.record_batch(
        {
            "a": pa.array([n % 7 for n in range(400)], pa.int32()),
            "b": pa.array([f"{n}" for n in range(400)]),
            "x": pa.array(range(400), pa.int32()),
        }
    )
    load(ignite, "KEYS_BOTH", rows, ["a", "b"], 1)
    check_from_everywhere(ignite, "KEYS_BOTH", 400)


@dataclass
class Table:
    """A table that a thread writes while it is read, and what is known of its rows."""

    cluster: Cluster
    name: str
    choose: random.Random
    there: set[str] = field(default_factory=set)
    always: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def insert(self, keys: set[str]) -> None:
        """New rows, or new values for those that are there."""
        data = [self.choose.randbytes(300) for _ in keys]
        rows = pa.record_batch({"id": pa.array(sorted(keys)), "v": pa.array(data, pa.binary())})
        load(self.cluster, self.name, rows, ["id"], 7)
        with self.lock:
            self.there |= keys

    def delete(self, keys: set[str]) -> None:
        with self.lock:
            self.there -= keys
            self.always -= keys
        for key in keys:
            self.cluster.sql(f'DELETE FROM {self.name} WHERE "id" = ?', key)

    def begin(self) -> None:
        """What is there now counts as there all through, until it is deleted."""
        with self.lock:
            self.always = set(self.there)

    def change(self) -> None:
        """Some rows come, some go, some get another value."""
        with self.lock:
            picked = self.choose.sample(sorted(self.there), min(30, len(self.there)))
        self.delete(set(picked[:15]))
        self.insert(set(picked[15:]))
        self.insert({self.key() for _ in range(30)})

    def key(self) -> str:
        """Half of all keys have one of 64 hashes."""
        end = self.choose.choice(ALIKE) if self.choose.random() < 0.5 else ""
        return f"{self.choose.randrange(64 if end else 4000)}{end}"


@contextlib.contextmanager
def written(table: Table) -> Iterator[None]:
    """Somebody writes to the table, without a pause."""
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            table.change()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True)
class Commit:
    """What a process leaves for the next one."""

    cursor: Cursor
    digests: dict[ShardId, Digests] = field(default_factory=dict)


class Trainer:
    """A process that takes rows from a commit on, loses its connections, and is killed."""

    def __init__(self, cluster: Cluster, table: Table) -> None:
        self.cluster = cluster
        self.table = table
        self.taken: Counter[str] = Counter()

    def run(self, commit: Commit, steps: int) -> Commit | None:
        """Some steps; None once the epoch is over."""
        source = self.cluster.source(self.table.name)
        with opened(self.cluster, self.table.name) as database:
            topology = database.topology()
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
            readers = LocalFirst(assignment, lambda node: database.reader(node, LIMITS))
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
                for step in range(steps):
                    rows, used = stream.take(97)
                    self.taken.update(rows.column("id").to_pylist())
                    cursor = cursor.after(used)
                    stream.advanced(cursor)
                    if stream.dry:
                        return None
                    if step == 0:
                        break_connections(readers)
                begun = stream.begun(cursor)
        blocks = {shard: each.block for shard, each in begun.items()}
        kept = json.dumps(encode_cursor(replace(cursor, blocks=blocks)))
        return Commit(
            decode_cursor(json.loads(kept)), {shard: each.taken for shard, each in begun.items()}
        )


def break_connections(readers: LocalFirst) -> None:
    for reader in readers._readers.values():
        assert isinstance(reader, IgniteReader)
        for worker in reader._fetcher._workers:
            if worker.connection is not None:
                worker.connection.close()


@pytest.mark.parametrize("epochs", [3])
def test_rows_that_are_there_all_through_are_taken_once_and_others_at_most_once(
    ignite: Cluster, request: pytest.FixtureRequest, epochs: int
) -> None:
    choose = random.Random(zlib.crc32(request.node.name.encode()))
    table = Table(ignite, "CHANGING", choose)
    table.insert({table.key() for _ in range(2000)})
    for epoch in range(epochs):
        table.begin()
        trainer = Trainer(ignite, table)
        commit: Commit | None = Commit(Cursor(epoch=epoch, order=ORDER))
        processes = 0
        with written(table):
            while commit is not None:
                commit = trainer.run(commit, steps=choose.randrange(2, 6))
                processes += 1
        assert processes > 3
        assert {key for key in table.always if trainer.taken[key] != 1} == set()
        assert max(trainer.taken.values()) == 1
        assert len(trainer.taken) > len(table.always) > 100
