"""Each rank reads only from its own database node: the servers say so themselves."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import pyignite
import pytest

from insitu.databases import ReadLimits, connect
from testbed.ignite import Cluster
from tests.databases.jobs import Job, fill

pytestmark = [pytest.mark.ignite, pytest.mark.timeout(180)]

# Pages so small that scans stay open on their servers while these are asked about them.
SMALL_PAGES = ReadLimits(page_bytes=1 << 16, buffer_bytes=1 << 17, connections=1)
ROWS = 40_000


@pytest.fixture(scope="module")
def table(ignite: Cluster) -> str:
    fill(ignite, "LOCAL", ROWS, partitions=7, backups=1)
    return "LOCAL"


def scans_running_on(host: str, port: int) -> list[tuple[int, bool]]:
    """(partition, local) of every scan that the server itself says it is running."""
    client = pyignite.Client(partition_aware=False)
    with (
        client.connect(host, port),
        client.sql(
            "SELECT PARTITION, LOCAL FROM SYS.SCAN_QUERIES WHERE CACHE_NAME LIKE '%LOCAL%'"
        ) as rows,
    ):
        return [(partition, local) for partition, local in rows]


def test_a_server_runs_only_local_scans_of_what_its_own_rank_was_given(
    ignite: Cluster, table: str
) -> None:
    with closing(connect(ignite.source(table))) as database, ExitStack() as stack:
        topology = database.topology()
        given = {
            node.id: [shard.id for shard in topology.shards if shard.owners[0] == node.id]
            for node in topology.nodes
        }
        for node in topology.nodes:
            reader = stack.enter_context(closing(database.reader(node, SMALL_PAGES)))
            for shard in given[node.id]:
                stream = stack.enter_context(closing(reader.open(shard)))
                next(iter(stream))
        running = {node.id: scans_running_on(node.host, node.port) for node in topology.nodes}
    assert any(running.values()), "no scan was open any more; take a larger table"
    for node in topology.nodes:
        assert all(local for _, local in running[node.id])
        assert {str(partition) for partition, _ in running[node.id]} <= set(given[node.id])


def test_a_job_reports_that_every_byte_was_read_locally(
    ignite: Cluster, table: str, tmp_path: Path
) -> None:
    job = Job(tmp_path, ignite, table, spec={"training": {"epochs": 1, "globalBatchSize": 10_000}})
    code, said = job.run()
    assert code == 0, said
    locality = job.status["locality"]
    assert locality["local"] == locality["shards"] == 7
    assert locality["bytesLocal"] > ROWS * 12
    assert locality.get("bytesRemote", 0) == 0
