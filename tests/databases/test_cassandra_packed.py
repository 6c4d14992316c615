"""Tables with many samples a row: filled by `insitu load`, read sample by sample, trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import click.testing
import numpy as np
import pyarrow as pa
import pytest

from insitu.databases import Database, ReadLimits, RowPosition, connect
from insitu.databases.cassandra.ranges import RING, format_range
from insitu.errors import ConfigurationError
from insitu.topology import Topology
from insitu_operator.cli.load import load
from testbed.cassandra import Cluster
from tests.audit import once_each
from tests.databases.jobs import Job, fill_cassandra

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(300)]

ROWS = 3000
SMALL_PAGES = ReadLimits(page_bytes=1 << 16, buffer_bytes=1 << 18)


@pytest.fixture(scope="module")
def packed(cassandra: Cluster) -> str:
    fill_cassandra(cassandra, "packed.t", ROWS, pack=64)
    return "packed.t"


@contextmanager
def opened(cluster: Cluster, table: str) -> Iterator[tuple[Database, Topology]]:
    with closing(connect(cluster.source(table))) as database:
        yield database, database.topology()


def test_a_reader_gives_samples_and_not_packs(cassandra: Cluster, packed: str) -> None:
    with opened(cassandra, packed) as (database, topology):
        assert database.schema() == pa.schema(
            [("part", pa.int64()), ("id", pa.int64()), ("x", pa.float32())]
        )
        found: list[int] = []
        for shard in topology.shards:
            with closing(database.reader(topology.node[shard.owners[0]], SMALL_PAGES)) as reader:
                found += [n for b in reader.open(shard.id) for n in b.column("id").to_pylist()]
    assert sorted(found) == list(range(ROWS))
    assert cassandra.cql("SELECT count(*) FROM packed.t")[0][0] == -(-ROWS // 64)
    assert sum(shard.weight for shard in topology.shards) == pytest.approx(ROWS, rel=0.2)


def test_reading_goes_on_from_any_sample(cassandra: Cluster, packed: str) -> None:
    with opened(cassandra, packed) as (database, topology):
        whole = format_range(RING)
        with closing(database.reader(topology.nodes[0], SMALL_PAGES)) as reader:
            places: list[tuple[int, RowPosition]] = []
            stream = reader.open(whole)
            for batch in stream:
                ids, keys = batch.column("id").to_pylist(), stream.keys()
                places += [(number, keys.position(row)) for row, number in enumerate(ids)]
            for begin in (0, 1, 63, 64, len(places) // 2 + 1, len(places) - 1):
                again = reader.open(whole, places[begin][1])
                ids = [n for b in again for n in b.column("id").to_pylist()]
                assert ids == [number for number, _ in places[begin:]]


def test_a_killed_trainer_costs_no_sample_and_doubles_none(
    cassandra: Cluster, tmp_path: Path
) -> None:
    fill_cassandra(cassandra, "packed_once.t", 500, pack=7)
    job = Job(tmp_path, cassandra, "packed_once.t", dies="1:2:12")
    code, said = job.run()
    assert code == 0, said
    assert job.status["restarts"] == 1, said
    assert job.committed() == once_each(500)


def test_files_are_packed_and_may_be_loaded_again(cassandra: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, v=np.ones((20_001, 4), np.float32), label=np.arange(20_001))
    host, port = cassandra.endpoints[0]

    def run(*options: str) -> click.testing.Result:
        table = ("--cassandra", f"{host}:{port}", "--table", "packed_files.t", "--replicas", "2")
        return click.testing.CliRunner().invoke(load, [str(path), *table, *options])

    for _ in range(2):
        result = run("--pack", "1000")
        assert result.exit_code == 0, result.output
        assert cassandra.cql("SELECT count(*) FROM packed_files.t")[0][0] == 21
    with opened(cassandra, "packed_files.t") as (database, _):
        assert database.schema().names == ["id", "v", "label"]
    assert "is laid out otherwise" in run("--pack", "500").output
    assert "is laid out otherwise" in run().output


def test_a_condition_on_packed_samples_is_refused(cassandra: Cluster, packed: str) -> None:
    source = replace(cassandra.source(packed), options={"where": "x > 3"})
    with closing(connect(source)) as database, pytest.raises(ConfigurationError, match="`where`"):
        database.schema()
