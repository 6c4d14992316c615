"""What the world does to a table of Cassandra under a job is said clearly, or costs nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement

from insitu.databases import connect
from testbed.cassandra import Cluster
from tests.audit import once_each
from tests.databases.jobs import Job, data_of, fill_cassandra

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(300)]

ROWS = 500
# Fails at once, and not after tries that would end the same way.
NO_TRIES = {"failurePolicy": {"backoffLimit": 0}}


def refused(job: Job) -> str:
    """Why the job failed, by its status."""
    return str(job.condition("Failed")["message"])


@pytest.mark.parametrize(
    ("table", "change", "named"),
    [
        ("dropped.t", "DROP TABLE dropped.t", "dropped"),
        ("narrower.t", "ALTER TABLE narrower.t DROP x", "column name x in table narrower.t"),
    ],
    ids=["the table", "a trained column"],
)
def test_what_is_dropped_in_mid_job_is_named(
    cassandra: Cluster, tmp_path: Path, table: str, change: str, named: str
) -> None:
    fill_cassandra(cassandra, table, ROWS)
    job = Job(tmp_path, cassandra, table, waits="1:0:3", spec=NO_TRIES)
    code, said = job.run_through(lambda _run: cassandra.cql(change))
    assert code == 1, said
    assert named in refused(job)
    assert "Traceback" not in refused(job)


def empty(cluster: Cluster, table: str) -> None:
    cluster.cql(f"TRUNCATE {table}")


def halve(cluster: Cluster, table: str) -> None:
    parts = ", ".join(map(str, range(0, ROWS, 2)))
    delete = SimpleStatement(
        f"DELETE FROM {table} WHERE part IN ({parts})",
        consistency_level=ConsistencyLevel.ALL,  # any replica may be read next
    )
    with cluster.session() as session:
        session.execute(delete)


@pytest.mark.parametrize("change", [empty, halve])
def test_rows_that_go_in_mid_job_end_it_once_an_epoch_had_fewer(
    cassandra: Cluster, tmp_path: Path, change: Callable[[Cluster, str], None]
) -> None:
    table = f"{change.__name__}_rows.t"
    fill_cassandra(cassandra, table, ROWS)
    # In the second of three epochs, whose rows may all be here already.
    job = Job(tmp_path, cassandra, table, waits="1:0:10", spec=NO_TRIES)
    code, said = job.run_through(lambda _run: change(cassandra, table))
    assert code == 1, said
    assert re.search("found no row at all|took .* rows, and the one before 500", refused(job))
    if change is halve:
        job.waits = ""
        code, said = job.run("--resume")
        assert code == 0, said


def test_rows_that_go_in_mid_job_are_counted_where_it_may_go_on(
    cassandra: Cluster, tmp_path: Path
) -> None:
    fill_cassandra(cassandra, "going_on.t", ROWS)
    data = data_of(cassandra.source("going_on.t")) | {"onChange": "Continue"}
    job = Job(tmp_path, cassandra, "going_on.t", waits="1:0:10", spec={"data": data})
    code, said = job.run_through(lambda _run: halve(cassandra, "going_on.t"))
    assert code == 0, said
    assert job.status["trainerStatus"]["inexactEpochs"] >= 1, said


def test_a_column_that_is_added_in_mid_job_costs_nothing(
    cassandra: Cluster, tmp_path: Path
) -> None:
    fill_cassandra(cassandra, "wider.t", ROWS)
    job = Job(tmp_path, cassandra, "wider.t", waits="1:0:3")
    code, said = job.run_through(lambda _run: cassandra.cql("ALTER TABLE wider.t ADD y int"))
    assert code == 0, said
    assert job.committed() == once_each(ROWS)


def test_rows_of_times_that_differ_are_each_read_once(cassandra: Cluster, tmp_path: Path) -> None:
    """Such as clients write whose clocks are wrong."""
    fill_cassandra(cassandra, "times.t", ROWS)
    behind, ahead = 1_000_000, 1 << 52
    for number in range(0, ROWS, 5):
        when = behind if number % 2 else ahead
        cassandra.cql(
            f"INSERT INTO times.t (part, id, x) VALUES ({number}, {number}, 0)"
            f" USING TIMESTAMP {when}"
        )
    job = Job(tmp_path, cassandra, "times.t")
    code, said = job.run()
    assert code == 0, said
    assert job.committed() == once_each(ROWS)


@pytest.mark.skipif(shutil.which("javac") is None, reason="a wrong clock is compiled, by a JDK")
def test_nodes_whose_clocks_differ_cost_no_row_and_double_none(
    fresh_cassandra: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = fresh_cassandra(nodes=3, clocks=(0, 3600, -3600))
    fill_cassandra(cluster, "clocks.t", ROWS)
    for place, node in enumerate(cluster.nodes):
        with cluster.session(node) as session:
            session.use_client_timestamp = False
            for number in range(place, ROWS, 5):
                session.execute(
                    f"INSERT INTO clocks.t (part, id, x) VALUES ({number}, {number}, 0)"
                )
    written = [when for (when,) in cluster.cql("SELECT WRITETIME(x) FROM clocks.t")]
    assert max(written) - min(written) > 3500e6, "the clocks are wrong indeed"
    job = Job(tmp_path, cluster, "clocks.t", dies="1:2:12")
    code, said = job.run()
    assert code == 0, said
    assert job.committed() == once_each(ROWS)


def test_a_lost_node_without_another_copy_is_named_with_its_ranges(
    fresh_cassandra: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = fresh_cassandra(nodes=2, vnodes=4)
    fill_cassandra(cluster, "single.t", ROWS, replicas=1)
    lost = cluster.nodes[1]
    with closing(connect(cluster.source("single.t"))) as database:
        topology = database.topology()
    [owner] = [node.id for node in topology.nodes if node.host == lost.host]
    ranges = {shard.id for shard in topology.shards if shard.owners == (owner,)}
    job = Job(tmp_path, cluster, "single.t", waits="1:0:3")
    code, said = job.run_through(lambda _run: lost.kill())
    assert code == 1, said
    problem, _, named = refused(job).partition(f"{len(ranges)} shards (")
    assert "no live database node holds a readable copy" in problem
    assert set(named.partition(", ...")[0].split(", ")) <= ranges
    assert lost.host in said
