"""Each trainer runs on the machine of its database pod, with that node's partitions.

`--layouts 4` makes 20 runs of it, on clusters whose names, labels and places differ.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain

import pytest

from insitu.databases import connect
from insitu.topology import ShardId
from testbed import cluster as kubernetes
from testbed.cluster import Image
from tests.cluster.databases import CASSANDRA, IGNITE, KINDS, Database, Kind
from tests.cluster.manifests import Space
from tests.cluster.sites import Site, released, restricted
from tests.cluster.submitted import Submitted

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.ignite,
    pytest.mark.cassandra,
    pytest.mark.timeout(1800),
]

NAMES = ("quail", "heron", "raven", "swift")
# Tables by name, each with its options: partitions and copies of Ignite, copies of Cassandra.
TABLES = {
    IGNITE.name: {
        f"P{partitions}B{backups}": {"template": f"p{partitions}", "backups": str(backups)}
        for partitions, backups in ((1, 0), (7, 2), (64, 0), (100, 1), (1024, 1))
    },
    CASSANDRA.name: {f"C{copies}": CASSANDRA.copies(copies) for copies in (1, 2, 3)},
}
TAINT = "team=data:NoSchedule"
TOLERATION = {"key": "team", "operator": "Equal", "value": "data", "effect": "NoSchedule"}
TELL = "import json, os; print(json.dumps(dict(os.environ)))"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "layout" in metafunc.fixturenames:
        count = metafunc.config.getoption("layouts")
        metafunc.parametrize("layout", range(count), indirect=True, scope="module")


@dataclass(frozen=True)
class Layout:
    """Four pods of each database on three of four machines, one of which is tainted."""

    space: Space
    databases: Mapping[str, Database]
    tainted: str

    def submit(self, kind: Kind, name: str, table: str, **template: object) -> Submitted:
        """Its ranks say what they were told."""
        site = Site(self.space, kind)
        trainer = site.trainer("python", "-c", TELL, template=template)
        return site.submit(name, data=site.data(table), trainer=trainer)


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
    images = [python, operator_image, trainer_image, *(kind.image() for kind in KINDS.values())]
    with ExitStack() as stack:
        cluster = stack.enter_context(
            kubernetes.start(4, node_names=names, labels=labels, images=images)
        )
        stack.enter_context(released(cluster, operator_image, torch=trainer_image))
        space = stack.enter_context(restricted(cluster, trainer_image.name))
        places = chance.sample(names, 3)
        databases = {}
        for kind in KINDS.values():
            database = kind.start(cluster, space.name, 4, nodes=places, spread=False)
            for table, options in TABLES[kind.name].items():
                kind.fill_with(database, table, 50, options)
            databases[kind.name] = database
        tainted = databases[IGNITE.name].pods[0].node
        cluster.kubectl("taint", "node", tainted, TAINT)
        yield Layout(space, databases, tainted)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_trainer_is_beside_its_database_pod_with_its_shards(
    layout: Layout, kind: Kind
) -> None:
    database = layout.databases[kind.name]
    machines = {pod.ip: pod.node for pod in database.pods}
    assert len(set(machines.values())) < len(machines), "two database pods are on one machine"
    jobs = {
        table: layout.submit(kind, table.lower(), table, tolerations=[TOLERATION])
        for table in TABLES[kind.name]
    }
    for table, job in jobs.items():
        status = job.until_complete()
        told = {rank: json.loads(text) for rank, text in job.logs().items()}
        hosts = {rank: environment[kind.names("HOST")] for rank, environment in told.items()}
        assert job.machines() == {rank: machines[host] for rank, host in hosts.items()}
        shards = {hosts[rank]: _told(kind, environment) for rank, environment in told.items()}
        owned = _owned(database, kind.qualified(table))
        assert all(part <= owned[host] for host, part in shards.items())
        assert sorted(chain(*shards.values())) == sorted(set(chain(*owned.values())))
        assert status["locality"]["remote"] == 0


def test_a_taint_that_the_job_does_not_tolerate_holds_back_all_ranks(layout: Layout) -> None:
    job = layout.submit(IGNITE, "intolerant", "P64B0")
    said = job.until_says("MachineNotReady", layout.tainted, f"has the taint {TAINT}")
    assert "spec.trainer.template.tolerations" in said
    assert job.machines() == {}
    layout.space.cluster.kubectl("taint", "node", layout.tainted, f"{TAINT}-")
    try:
        job.until_complete()
    finally:
        layout.space.cluster.kubectl("taint", "node", layout.tainted, TAINT)
    job.delete()


def _told(kind: Kind, environment: Mapping[str, str]) -> set[ShardId]:
    found = kind.names.parse(environment[kind.names(kind.names.shards)])
    assert found is not None, "nobody is told to read all of them"
    return set(found)


def _owned(database: Database, table: str) -> dict[str, set[ShardId]]:
    """Shards by the address of a node that has them, as this machine reads them."""
    with closing(connect(database.source(table))) as source:
        topology = source.topology()
    return {
        node.host: {shard.id for shard in topology.shards if node.id in shard.owners}
        for node in topology.nodes
    }
