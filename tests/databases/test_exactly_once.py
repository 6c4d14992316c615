"""Every row enters committed steps exactly once per epoch, whatever dies on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.ignite import Cluster
from tests.audit import once_each
from tests.databases.jobs import Job, fill

pytestmark = [pytest.mark.ignite, pytest.mark.timeout(180)]


@pytest.mark.parametrize("backups", [0, 1, 2])
@pytest.mark.parametrize("partitions", [1, 7, 64, 100, 1024])
def test_a_killed_trainer_costs_no_row_and_doubles_none(
    ignite: Cluster, tmp_path: Path, partitions: int, backups: int
) -> None:
    table = f"ONCE_{partitions}_{backups}"
    fill(ignite, table, 500, partitions=partitions, backups=backups)
    last_rank = min(partitions, 3) - 1
    job = Job(tmp_path, ignite, table, dies=f"1:{last_rank}:12")
    code, said = job.run()
    assert code == 0, said
    assert job.status["restarts"] == 1, said
    assert job.committed() == once_each(500)


def test_a_run_that_was_interrupted_and_resumed_costs_no_row(
    ignite: Cluster, tmp_path: Path
) -> None:
    fill(ignite, "INTERRUPTED", 500)
    job = Job(tmp_path, ignite, "INTERRUPTED", waits="1:0:11")
    code, said = job.run_through(job.interrupt)
    assert code == 130, said
    interrupted_at = job.lineage[-1].cursor.step
    assert 11 <= interrupted_at < 24, "Ctrl-C commits what was trained"
    code, said = job.run("--resume")
    assert code == 0, said
    assert job.committed() == once_each(500)


def test_a_database_node_killed_in_mid_epoch_costs_no_row(
    fresh_ignite: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = fresh_ignite(nodes=3)
    fill(cluster, "SURVIVES", 500, backups=1)
    job = Job(tmp_path, cluster, "SURVIVES", waits="1:0:11")
    code, said = job.run_through(lambda _run: cluster.nodes[2].kill())
    assert code == 0, said
    assert job.committed() == once_each(500)
    assert {node["databaseNode"] for node in job.status["nodes"]} == {"ignite-0", "ignite-1"}


def test_a_database_node_that_joins_in_mid_epoch_costs_no_row(
    fresh_ignite: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = fresh_ignite(nodes=3)
    cluster.nodes[2].kill()
    cluster.wait_rebalanced()
    fill(cluster, "JOINS", 500, backups=1)
    job = Job(tmp_path, cluster, "JOINS", waits="1:0:11")

    def join(_run: object) -> None:
        cluster.nodes[2].start()
        cluster.wait_rebalanced()

    code, said = job.run_through(join)
    assert code == 0, said
    assert job.committed() == once_each(500)
