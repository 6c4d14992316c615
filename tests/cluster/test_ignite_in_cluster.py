"""Ignite as a StatefulSet: one pod a node, known by its name, wherever and whenever it runs."""

from __future__ import annotations

from contextlib import closing

import pytest

from insitu.databases import connect
from insitu.topology import Topology
from testbed.cluster import Cluster, ignite
from tests.cluster.conftest import NAMES, ROWS
from tests.cluster.manifests import Space
from tests.cluster.sites import TABLE

pytestmark = [pytest.mark.cluster, pytest.mark.ignite, pytest.mark.timeout(1200)]


def topology(database: ignite.Database) -> Topology:
    """As this machine reads it, through routes to the pods."""
    with closing(connect(database.source(TABLE))) as source:
        return source.topology()


def test_each_node_has_one_pod_and_the_topology_names_them_all(
    shared_ignite: ignite.Database,
) -> None:
    assert {pod.node for pod in shared_ignite.pods} == set(NAMES)
    found = {node.id: node.host for node in topology(shared_ignite).nodes}
    assert found == {pod.name: pod.ip for pod in shared_ignite.pods}


def test_the_service_for_clients_lists_the_pods_that_have_joined(
    equipped: Cluster, shared_ignite: ignite.Database
) -> None:
    label = f"kubernetes.io/service-name={shared_ignite.service}"
    (slice_,) = equipped.kubectl.items("endpointslices", "-n", shared_ignite.namespace, "-l", label)
    ready = {
        address
        for endpoint in slice_["endpoints"]
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    }
    assert ready == {pod.ip for pod in shared_ignite.pods}


def test_a_deleted_pod_comes_back_as_the_same_database_node_and_no_row_is_lost(
    shared_ignite: ignite.Database,
) -> None:
    before = {pod.name: pod.uid for pod in shared_ignite.pods}
    shared_ignite.delete("ignite-0")
    shared_ignite.wait_settled()
    after = {pod.name: pod.uid for pod in shared_ignite.pods}
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == ["ignite-0"]
    read = topology(shared_ignite)
    assert {node.id: node.host for node in read.nodes} == {p.name: p.ip for p in shared_ignite.pods}
    assert (read.rows, read.orphans, read.moving) == (ROWS, (), ())


def test_pods_stay_on_the_nodes_they_are_given(strict: Space) -> None:
    two = ignite.start(strict.cluster, strict.name, 2, nodes=[NAMES[1]], spread=False)
    assert {pod.node for pod in two.pods} == {NAMES[1]}
