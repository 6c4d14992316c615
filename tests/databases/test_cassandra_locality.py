"""Nodes that read their shards from each other are found out, refused, or told of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from insitu.databases import connect
from insitu.topology import MeasuredLocality
from testbed.cassandra import Cluster
from tests.databases.jobs import Job, fill_cassandra

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(400)]

ROWS = 200


def measured(cluster: Cluster, table: str) -> MeasuredLocality:
    with closing(connect(cluster.source(table))) as database:
        found = database.topology().locality
    assert found is not None
    return found


def job(cluster: Cluster, folder: Path, locality: str) -> Job:
    folder.mkdir()
    training = {"epochs": 1, "globalBatchSize": ROWS}
    return Job(
        folder, cluster, "two.t", spec={"training": training, "placement": {"locality": locality}}
    )


@pytest.mark.parametrize(
    ("snitch", "dynamic", "local"),
    [
        ("SimpleSnitch", False, False),
        ("GossipingPropertyFileSnitch", False, True),
        ("SimpleSnitch", True, None),
        ("GossipingPropertyFileSnitch", True, None),
    ],
)
def test_jobs_say_or_refuse_what_database_nodes_fetch_from_each_other(
    fresh_cassandra: Callable[..., Cluster],
    tmp_path: Path,
    snitch: str,
    dynamic: bool,
    local: bool | None,
) -> None:
    """None: whatever the servers' latencies make of it at the moment."""
    cluster = fresh_cassandra(nodes=3, vnodes=4, snitch=snitch, dynamic_snitch=dynamic)
    fill_cassandra(cluster, "two.t", ROWS, replicas=2)
    fill_cassandra(cluster, "one.t", 10, replicas=1)
    assert measured(cluster, "one.t") == MeasuredLocality(1.0), "there is no other copy"
    found = measured(cluster, "two.t")
    assert found.share is not None
    if local is not None:
        assert (found.share == 1) is local
    assert ("dynamic_snitch: false" in found.remedy) is not (local is True)

    preferred = job(cluster, tmp_path / "preferred", "Preferred")
    code, said = preferred.run()
    assert code == 0, said
    percent = preferred.status["locality"]["ownCopiesPercent"]
    if local is not None:
        assert percent == int(found.share * 100), "of the whole job, as a probe finds it"
    assert ("dynamic_snitch: false" in said) is not (local is True)
    assert f"{percent} % were read locally" in said

    if local is not None:
        code, said = job(cluster, tmp_path / "required", "Required").run()
        assert (code == 0) is local
        assert ("set `dynamic_snitch: false`" in said) is not local
