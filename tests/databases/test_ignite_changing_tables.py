"""In which order real servers give rows, and that reading goes on from any of them."""

from __future__ import annotations

import contextlib
import decimal
import itertools
import random
import uuid
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from insitu.data import Order
from insitu.databases import Database, ReadLimits, RowPosition, connect
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
