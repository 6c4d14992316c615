"""The testbed's own promises: addresses, places, deaths and joins of real nodes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest

from testbed.cassandra import BootFailed, Cluster
from testbed.cassandra.tokens import tokens
from testbed.paths import REPOSITORY

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(600)]

Start = Callable[..., Cluster]

STARTS_AND_WAITS = """
import sys
from testbed.cassandra import start
with start(nodes=1) as cluster:
    print(cluster.nodes[0].pid, flush=True)
    sys.stdin.read()
"""


def filled(cluster: Cluster, replicas: int) -> None:
    cluster.keyspace("k", replicas)
    cluster.cql("CREATE TABLE k.t (id int PRIMARY KEY)")
    for number in range(100):
        cluster.cql("INSERT INTO k.t (id) VALUES (%s)", number)


def count(cluster: Cluster) -> set[int]:
    """What each running node finds when it is asked for all rows."""
    return {len(cluster.cql("SELECT id FROM k.t", node=node)) for node in cluster.running}


def test_every_node_has_its_own_address_and_the_same_port(cassandra: Cluster) -> None:
    assert len({host for host, _ in cassandra.endpoints}) == 3
    assert {port for _, port in cassandra.endpoints} == {9042}
    for node in cassandra.nodes:
        [(address,)] = cassandra.cql("SELECT broadcast_address FROM system.local", node=node)
        assert address == node.host


def test_a_new_ring_is_about_even() -> None:
    owned = tokens(3, 16)
    assert sorted(map(len, owned)) == [16, 16, 16]
    assert len({token for some in owned for token in some}) == 48


def test_a_node_that_was_killed_comes_back_with_its_rows(fresh_cassandra: Start) -> None:
    cluster = fresh_cassandra(nodes=2)
    filled(cluster, replicas=1)
    cluster.nodetool(cluster.nodes[1], "flush", "k")
    before = cluster.nodes[1].pid
    cluster.nodes[1].kill()
    assert not psutil.pid_exists(before)
    cluster.wait_seen_down(cluster.nodes[1])
    cluster.nodes[1].start()
    cluster.wait_ready()
    assert count(cluster) == {100}


def test_nodes_join_and_leave_without_losing_rows(fresh_cassandra: Start) -> None:
    cluster = fresh_cassandra(nodes=2)
    filled(cluster, replicas=1)
    cluster.add()
    cluster.wait_ready()
    assert count(cluster) == {100}
    cluster.decommission(cluster.nodes[0])
    assert [node.id for node in cluster.nodes] == ["cassandra-1", "cassandra-2"]
    assert count(cluster) == {100}


def test_racks_and_datacenters_are_filled_in_turn(fresh_cassandra: Start) -> None:
    cluster = fresh_cassandra(nodes=4, racks=2, datacenters=2, vnodes=1)
    places = [
        cluster.cql("SELECT data_center, rack FROM system.local", node=node)[0]
        for node in cluster.nodes
    ]
    assert places == [
        ("datacenter1", "rack1"),
        ("datacenter2", "rack1"),
        ("datacenter1", "rack2"),
        ("datacenter2", "rack2"),
    ]


def test_nodes_end_with_whoever_started_them() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    with starter:
        assert starter.stdout is not None
        node = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    _, alive = psutil.wait_procs([node], timeout=30)
    assert not alive


def test_a_node_that_cannot_start_says_why(fresh_cassandra: Start) -> None:
    with pytest.raises(BootFailed, match="ended with code"):
        fresh_cassandra(nodes=1, heap_mb=8)
