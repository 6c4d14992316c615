"""Ignite as a StatefulSet: one pod a node, known by its name, wherever and whenever it runs."""

from __future__ import annotations

from contextlib import closing

import pytest

from insitu.databases import connect
from insitu.topology import Topology
from testbed.cluster import ignite
from tests.cluster.conftest import NAMES
from tests.cluster.manifests import Space

pytestmark = [pytest.mark.cluster, pytest.mark.ignite, pytest.mark.timeout(1200)]


@pytest.fixture
def database(strict: Space) -> ignite.Database:
    started = ignite.start(strict.cluster, strict.name)
    started.sql(
        'CREATE TABLE T (ID INT PRIMARY KEY, V INT) WITH "template=p64,backups=1,CACHE_NAME=T"'
    )
    for row in range(20):
        started.sql("INSERT INTO T (ID, V) VALUES (?, ?)", row, row)
    return started


def topology(database: ignite.Database) -> Topology:
    """As this machine reads it, through routes to the pods."""
    with closing(connect(database.source("T"))) as source:
        return source.topology()


def test_each_node_has_one_pod_and_the_topology_names_them_all(
    database: ignite.Database,
) -> None:
    assert {pod.node for pod in database.pods} == set(NAMES)
    found = {node.id: node.host for node in topology(database).nodes}
    assert found == {pod.name: pod.ip for pod in database.pods}


def test_the_service_for_clients_lists_the_pods_that_have_joined(
    strict: Space, database: ignite.Database
) -> None:
    label = f"kubernetes.io/service-name={database.service}"
    (slice_,) = strict.cluster.kubectl.items("endpointslices", "-n", strict.name, "-l", label)
    ready = {
        address
        for endpoint in slice_["endpoints"]
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    }
    assert ready == {pod.ip for pod in database.pods}


def test_a_deleted_pod_comes_back_as_the_same_database_node_and_no_row_is_lost(
    database: ignite.Database,
) -> None:
    before = {pod.name: pod.uid for pod in database.pods}
    database.delete("ignite-0")
    database.wait_rebalanced()
    after = {pod.name: pod.uid for pod in database.pods}
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == ["ignite-0"]
    read = topology(database)
    assert {node.id: node.host for node in read.nodes} == {p.name: p.ip for p in database.pods}
    assert (read.rows, read.orphans, read.moving) == (20, (), ())


def test_pods_stay_on_the_nodes_they_are_given(strict: Space) -> None:
    two = ignite.start(strict.cluster, strict.name, 2, nodes=[NAMES[1]], spread=False)
    assert {pod.node for pod in two.pods} == {NAMES[1]}
