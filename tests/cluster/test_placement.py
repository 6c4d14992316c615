"""Each trainer runs on the machine of its database pod, with that node's partitions.

`--layouts 4` makes 20 runs of it, on clusters whose names, labels and places differ.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import pytest

from insitu.contract.ranges import parse_ranges
from insitu.databases import connect
from testbed import cluster as kubernetes
from testbed.cluster import Image, ignite
from tests.cluster.manifests import Space
from tests.cluster.sites import Site, released, restricted
from tests.cluster.submitted import Submitted
from tests.databases.jobs import fill

pytestmark = [pytest.mark.cluster, pytest.mark.ignite, pytest.mark.timeout(1800)]

NAMES = ("quail", "heron", "raven", "swift")
PARTITIONS_AND_BACKUPS = ((1, 0), (7, 2), (64, 0), (100, 1), (1024, 1))
TAINT = "team=data:NoSchedule"
TOLERATION = {"key": "team", "operator": "Equal", "value": "data", "effect": "NoSchedule"}
TELL = "import json, os; print(json.dumps(dict(os.environ)))"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "layout" in metafunc.fixturenames:
        count = metafunc.config.getoption("layouts")
        metafunc.parametrize("layout", range(count), indirect=True, scope="module")


@dataclass(frozen=True)
class Layout:
    """Four database pods on three of four machines, one of which is tainted."""

    site: Site
    database: ignite.Database
    tainted: str

    def submit(self, name: str, table: str, **template: object) -> Submitted:
        """Its ranks say what they were told."""
        trainer = self.site.trainer("python", "-c", TELL, template=template)
        return self.site.submit(name, data=self.site.data(table), trainer=trainer)


@pytest.fixture(scope="module")
def layout(
    request: pytest.FixtureRequest, python: Image, operator_image: Image, trainer_image: Image
) -> Iterator[Layout]:
    chance = random.Random(request.param)
    names = chance.sample(NAMES, len(NAMES))
    # Each is called by the label that bears the name of another one.
    labels = {
        name: {"kubernetes.io/hostname": other}
        for name, other in zip(names, [*names[1:], names[0]], strict=True)
    }
    wanted = [python, ignite.image(), operator_image, trainer_image]
    with (
        kubernetes.start(4, node_names=names, labels=labels, images=wanted) as cluster,
        released(cluster, operator_image, trainer_image),
        restricted(cluster, trainer_image.name) as space,
    ):
        places = chance.sample(names, 3)
        database = ignite.start(cluster, space.name, 4, nodes=places, spread=False)
        for partitions, backups in PARTITIONS_AND_BACKUPS:
            fill(database, _table(partitions, backups), 50, partitions=partitions, backups=backups)
        tainted = database.pods[0].node
        cluster.kubectl("taint", "node", tainted, TAINT)
        yield Layout(Site(Space(cluster, space.name, trainer_image.name)), database, tainted)


def test_each_trainer_is_beside_its_database_pod_with_its_partitions(layout: Layout) -> None:
    machines = {pod.ip: pod.node for pod in layout.database.pods}
    assert len(set(machines.values())) < len(machines), "two database pods are on one machine"
    tables = [_table(*shape) for shape in PARTITIONS_AND_BACKUPS]
    jobs = {
        table: layout.submit(table.lower(), table, tolerations=[TOLERATION]) for table in tables
    }
    for table, job in jobs.items():
        status = job.until_complete()
        told = {rank: json.loads(text) for rank, text in job.logs().items()}
        hosts = {rank: environment["IGNITE_DATASET_HOST"] for rank, environment in told.items()}
        assert job.machines() == {rank: machines[host] for rank, host in hosts.items()}
        parts = {hosts[rank]: _partitions(environment) for rank, environment in told.items()}
        owned = _owned(layout.database, table)
        assert all(part <= owned[host] for host, part in parts.items())
        assert sorted(chain(*parts.values())) == sorted(set(chain(*owned.values())))
        assert status["locality"]["remote"] == 0


def test_a_taint_that_the_job_does_not_tolerate_holds_back_all_ranks(layout: Layout) -> None:
    job = layout.submit("intolerant", _table(64, 0))
    said = job.until_says("MachineNotReady", layout.tainted, f"has the taint {TAINT}")
    assert "spec.trainer.template.tolerations" in said
    assert job.machines() == {}
    layout.database.cluster.kubectl("taint", "node", layout.tainted, f"{TAINT}-")
    try:
        job.until_complete()
    finally:
        layout.database.cluster.kubectl("taint", "node", layout.tainted, TAINT)
    job.delete()


def _table(partitions: int, backups: int) -> str:
    return f"P{partitions}B{backups}"


def _partitions(environment: Mapping[str, str]) -> set[int]:
    found = parse_ranges(environment["IGNITE_DATASET_PART"])
    assert found is not None, "nobody is told to read all of them"
    return set(found)


def _owned(database: ignite.Database, table: str) -> dict[str, set[int]]:
    """Partitions by the address of a node that has them, as this machine reads them."""
    with closing(connect(database.source(table))) as source:
        topology = source.topology()
    return {
        node.host: {int(shard.id) for shard in topology.shards if node.id in shard.owners}
        for node in topology.nodes
    }
