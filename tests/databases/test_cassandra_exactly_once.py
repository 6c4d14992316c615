"""Every row of Cassandra enters committed steps once per epoch, whatever dies on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.cassandra import Cluster
from tests.audit import once_each
from tests.databases.jobs import Job, fill_cassandra

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(300)]


@pytest.mark.parametrize(("replicas", "a_partition"), [(1, 1), (2, 1), (3, 1), (2, 70)])
def test_a_killed_trainer_costs_no_row_and_doubles_none(
    cassandra: Cluster, tmp_path: Path, replicas: int, a_partition: int
) -> None:
    table = f"once_{replicas}.of_{a_partition}"
    fill_cassandra(cassandra, table, 500, replicas=replicas, a_partition=a_partition)
    job = Job(tmp_path, cassandra, table, dies="1:2:12")
    code, said = job.run()
    assert code == 0, said
    assert job.status["restarts"] == 1, said
    assert job.committed() == once_each(500)


def test_a_run_that_was_interrupted_and_resumed_costs_no_row(
    cassandra: Cluster, tmp_path: Path
) -> None:
    fill_cassandra(cassandra, "interrupted.t", 500)
    job = Job(tmp_path, cassandra, "interrupted.t", waits="1:0:11")
    code, said = job.run_through(job.interrupt)
    assert code == 130, said
    assert 11 <= job.lineage[-1].cursor.step < 24, "Ctrl-C commits what was trained"
    code, said = job.run("--resume")
    assert code == 0, said
    assert job.committed() == once_each(500)


def test_a_database_node_killed_in_mid_epoch_costs_no_row(
    fresh_cassandra: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = fresh_cassandra(nodes=3)
    fill_cassandra(cluster, "survives.t", 500, replicas=2)
    job = Job(tmp_path, cluster, "survives.t", waits="1:0:11")
    code, said = job.run_through(lambda _run: cluster.nodes[2].kill())
    assert code == 0, said
    assert job.committed() == once_each(500)
    assert len(job.status["nodes"]) == 2, "the nodes that are left read it all"


def test_a_database_node_that_bootstraps_in_mid_epoch_costs_no_row(
    fresh_cassandra: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = fresh_cassandra(nodes=2)
    fill_cassandra(cluster, "joined.t", 500, replicas=2)
    job = Job(tmp_path, cluster, "joined.t", waits="1:0:11")

    def join(_run: object) -> None:
        cluster.add()
        cluster.wait_ready()

    code, said = job.run_through(join)
    assert code == 0, said
    assert job.committed() == once_each(500)
