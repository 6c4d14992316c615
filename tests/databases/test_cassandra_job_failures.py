"""What the world does to a table of Cassandra under a job is said clearly, or costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.cassandra import Cluster
from tests.audit import once_each
from tests.databases.jobs import Job, fill_cassandra

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(300)]

ROWS = 500
# Fails at once, and not after tries that would end the same way.
NO_TRIES = {"failurePolicy": {"backoffLimit": 0}}


def refused(job: Job) -> str:
    """Why the job failed, by its status."""
    return str(job.condition("Failed")["message"])


def test_a_table_that_is_dropped_in_mid_job_is_named(cassandra: Cluster, tmp_path: Path) -> None:
    fill_cassandra(cassandra, "dropped.t", ROWS)
    job = Job(tmp_path, cassandra, "dropped.t", waits="1:0:3", spec=NO_TRIES)
    code, said = job.run_through(lambda _run: cassandra.cql("DROP TABLE dropped.t"))
    assert code == 1, said
    assert "dropped" in refused(job)
    assert "Traceback" not in refused(job)


def test_a_trained_column_that_is_dropped_in_mid_job_is_named(
    cassandra: Cluster, tmp_path: Path
) -> None:
    fill_cassandra(cassandra, "narrower.t", ROWS)
    job = Job(tmp_path, cassandra, "narrower.t", waits="1:0:3", spec=NO_TRIES)
    code, said = job.run_through(lambda _run: cassandra.cql("ALTER TABLE narrower.t DROP x"))
    assert code == 1, said
    assert "column name x in table narrower.t" in refused(job)
    assert "Traceback" not in refused(job)


def test_a_column_that_is_added_in_mid_job_costs_nothing(
    cassandra: Cluster, tmp_path: Path
) -> None:
    fill_cassandra(cassandra, "wider.t", ROWS)
    job = Job(tmp_path, cassandra, "wider.t", waits="1:0:3")
    code, said = job.run_through(lambda _run: cassandra.cql("ALTER TABLE wider.t ADD y int"))
    assert code == 0, said
    assert job.committed() == once_each(ROWS)


def test_rows_of_clocks_that_differ_are_each_read_once(cassandra: Cluster, tmp_path: Path) -> None:
    """A node whose clock is wrong gives its own times to what it is told to write."""
    fill_cassandra(cassandra, "clocks.t", ROWS)
    behind, ahead = 1_000_000, 1 << 52
    for number in range(0, ROWS, 5):
        when = behind if number % 2 else ahead
        cassandra.cql(
            f"INSERT INTO clocks.t (part, id, x) VALUES ({number}, {number}, 0)"
            f" USING TIMESTAMP {when}"
        )
    job = Job(tmp_path, cassandra, "clocks.t")
    code, said = job.run()
    assert code == 0, said
    assert job.committed() == once_each(ROWS)


def test_a_lost_node_without_another_copy_is_named_with_its_ranges(
    fresh_cassandra: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = fresh_cassandra(nodes=2, vnodes=4)
    fill_cassandra(cluster, "single.t", ROWS, replicas=1)
    job = Job(tmp_path, cluster, "single.t", waits="1:0:3")
    code, said = job.run_through(lambda _run: cluster.nodes[1].kill())
    assert code == 1, said
    assert "no live database node holds a readable copy" in refused(job)
    assert cluster.nodes[1].host in said
