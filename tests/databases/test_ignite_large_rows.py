"""A node of 512 MB heap survives rows of 40 MB, in every way they are looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from insitu.databases import Database, connect
from insitu.tensorflow import IgniteDataset
from testbed.ignite import Cluster, start

pytestmark = [pytest.mark.ignite, pytest.mark.timeout(240)]

LARGE = 40 << 20
SCHEMA = pa.schema([("ID", pa.int64()), ("B", pa.binary())])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One node with a table of 200 rows of 10 bytes and two of 40 MB."""
    with start(nodes=1, heap_mb=512, region_mb=256) as cluster:
        with contextlib.closing(connect(cluster.source("LARGE"))) as database:
            writer = database.writer(SCHEMA, key=["ID"], options={"template": "p1024"})
            writer.write(pa.record_batch([range(200), [bytes(10)] * 200], schema=SCHEMA))
            for number in (200, 201):
                writer.write(pa.record_batch([[number], [bytes(LARGE)]], schema=SCHEMA))
            writer.close()
        yield cluster


def by_schema(_cluster: Cluster, database: Database) -> None:
    database.check()
    assert database.topology().rows == 202
    assert database.schema() == SCHEMA


def by_reader(_cluster: Cluster, database: Database) -> None:
    topology = database.topology()
    with contextlib.closing(database.reader(topology.nodes[0])) as reader:
        batches = [batch for shard in topology.shards for batch in reader.open(shard.id)]
    sizes = [len(value) for batch in batches for value in batch.column("B").to_pylist()]
    assert sorted(sizes) == [10] * 200 + [LARGE] * 2


def by_dataset(cluster: Cluster, _database: Database) -> None:
    host, port = cluster.endpoints[0]
    dataset = IgniteDataset("LARGE", host, port, environ={})
    assert sum(int(row["val"]["B"].shape[0]) for row in dataset) == 200 * 10 + 2 * LARGE


@pytest.mark.parametrize("way", [by_schema, by_reader, by_dataset])
def test_a_small_node_survives_rows_of_40_mb(
    cluster: Cluster, way: Callable[[Cluster, Database], None]
) -> None:
    with contextlib.closing(connect(cluster.source("LARGE"))) as database:
        way(cluster, database)
