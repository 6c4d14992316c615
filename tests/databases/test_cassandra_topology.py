"""Who holds what, read from real clusters that are whole, that lose nodes, and that get them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from cassandra.concurrent import execute_concurrent_with_args

from insitu.databases import Database, connect, refit
from insitu.databases.cassandra.ranges import parse_range
from insitu.databases.cassandra.reading.tokens import token_of
from insitu.errors import ConfigurationError
from insitu.topology import NodeId, ShardId, Topology
from insitu_operator.core.planner import plan
from testbed.cassandra import Cluster

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(600)]

Start = Callable[..., Cluster]


@contextlib.contextmanager
def opened(cluster: Cluster, table: str, **options: str) -> Iterator[Database]:
    source = dataclasses.replace(cluster.source(table), options=options)
    with contextlib.closing(connect(source)) as database:
        yield database


def topology_of(cluster: Cluster, table: str, **options: str) -> Topology:
    with opened(cluster, table, **options) as database:
        return database.topology()


def create(cluster: Cluster, keyspace: str, replicas: int = 1, rows: int = 0, **places: int) -> str:
    cluster.keyspace(keyspace, replicas, **places)
    cluster.cql(f"CREATE TABLE {keyspace}.t (id int PRIMARY KEY, v int)")
    fill(cluster, f"{keyspace}.t", ([i, i] for i in range(rows)), "id", "v")
    return f"{keyspace}.t"


def fill(cluster: Cluster, table: str, rows: Iterator[Sequence[int]], *columns: str) -> None:
    # Node 0 is in the datacenter that has copies, and any node may coordinate.
    with cluster.session(cluster.nodes[0]) as session:
        marks = ", ".join("?" for _ in columns)
        insert = session.prepare(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})")
        execute_concurrent_with_args(session, insert, rows, concurrency=16)


def hosts_of(topology: Topology, key: int) -> set[str]:
    """Where the topology says the row is."""
    token = token_of([key.to_bytes(4, "big", signed=True)])
    [shard] = [shard for shard in topology.shards if token in parse_range(shard.id)]
    return {topology.node[owner].host for owner in shard.owners}


def endpoints(cluster: Cluster, keyspace: str, key: int) -> set[str]:
    """Where the servers say it is."""
    return set(cluster.nodetool(cluster.nodes[0], "getendpoints", keyspace, "t", str(key)).split())


def wait_for(database: Database, condition: Callable[[Topology], bool]) -> Topology:
    deadline = time.monotonic() + 120
    while not condition(topology := database.topology()):
        assert time.monotonic() < deadline, topology.warnings
        time.sleep(0.05)
    return topology


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_owners_are_those_that_the_servers_name(cassandra: Cluster, replicas: int) -> None:
    topology = topology_of(cassandra, create(cassandra, f"owners{replicas}", replicas))
    assert {len(shard.owners) for shard in topology.shards} == {replicas}
    for key in range(3):
        assert hosts_of(topology, key) == endpoints(cassandra, f"owners{replicas}", key)


def test_nodes_have_host_ids_and_addresses_that_others_reach(cassandra: Cluster) -> None:
    topology = topology_of(cassandra, create(cassandra, "names"))
    for node in cassandra.nodes:
        [(host_id,)] = cassandra.cql("SELECT host_id FROM system.local", node=node)
        found = topology.node[NodeId(str(host_id))]
        assert (found.host, found.port) == (node.host, node.port)


def test_rows_are_estimated_right_after_a_load_and_after_the_servers_have(
    cassandra: Cluster,
) -> None:
    table = create(cassandra, "sizes", replicas=2, rows=2000)
    fresh = topology_of(cassandra, table)
    assert sum(shard.weight for shard in fresh.shards) == pytest.approx(2000, rel=0.2)
    cassandra.refresh_sizes("sizes")
    settled = topology_of(cassandra, table)
    assert sum(shard.weight for shard in settled.shards) == pytest.approx(2000, rel=0.2)
    assert not settled.weights_exact
    assert settled.rows is None
    assert fresh.version == settled.version
    assert plan(settled, generation=1).imbalance <= 1.05


def test_rows_of_large_partitions_are_estimated(cassandra: Cluster) -> None:
    cassandra.keyspace("wide")
    cassandra.cql("CREATE TABLE wide.t (k int, c int, PRIMARY KEY (k, c))")
    fill(cassandra, "wide.t", ([i // 20, i] for i in range(4000)), "k", "c")
    topology = topology_of(cassandra, "wide.t")
    assert sum(shard.weight for shard in topology.shards) == pytest.approx(4000, rel=0.5)
    assert not any("more rows" in warning for warning in topology.warnings)
    cassandra.cql("CREATE TABLE wide.wider (k int, c int, PRIMARY KEY (k, c))")
    fill(cassandra, "wide.wider", ([i // 1000, i] for i in range(4000)), "k", "c")
    topology = topology_of(cassandra, "wide.wider")
    assert any("more rows than estimated" in warning for warning in topology.warnings)


@pytest.mark.parametrize("rows", [5, 50, 100])
def test_rows_that_are_not_on_disk_yet_are_planned(cassandra: Cluster, rows: int) -> None:
    topology = topology_of(cassandra, create(cassandra, f"unflushed_{rows}", rows=rows))
    assert sum(shard.weight for shard in topology.shards) == pytest.approx(rows, abs=2)
    assert not any("empty" in note for note in plan(topology, generation=1).notes)


def test_an_empty_table_has_sizes_that_are_not_known(cassandra: Cluster) -> None:
    topology = topology_of(cassandra, create(cassandra, "nothing"))
    assert not topology.weights_known
    assert any("no estimate of the table's size" in text for text in topology.warnings)


def test_the_version_changes_with_the_schema_and_with_nothing_else(cassandra: Cluster) -> None:
    table = create(cassandra, "versions")
    with opened(cassandra, table) as database:
        before = database.topology()
        assert database.topology() is before
        create(cassandra, "versions_of_others")
        assert database.topology().version == before.version
        cassandra.cql(f"ALTER TABLE {table} ADD w int")
        wait_for(database, lambda topology: topology.version != before.version)
        cassandra.cql(f"DROP TABLE {table}")
        with pytest.raises(ConfigurationError, match="'versions' has no table 't'"):
            wait_for(database, lambda _: False)


@pytest.mark.parametrize("vnodes", [1, 256])
def test_few_and_many_vnodes(fresh_cassandra: Start, vnodes: int) -> None:
    cluster = fresh_cassandra(nodes=2, vnodes=vnodes)
    topology = topology_of(cluster, create(cluster, "vnodes"))
    assert len(topology.shards) >= 32
    for key in range(3):
        assert hosts_of(topology, key) == endpoints(cluster, "vnodes", key)


def test_one_datacenter_is_read_and_its_racks_are_kept_apart(fresh_cassandra: Start) -> None:
    cluster = fresh_cassandra(nodes=5, racks=2, datacenters=2, vnodes=4)
    table = create(cluster, "both", datacenter1=2, datacenter2=1)
    first = topology_of(cluster, table)
    assert {node.host for node in first.nodes} == {n.host for n in cluster.nodes[::2]}
    assert {len(shard.owners) for shard in first.shards} == {2}
    second = topology_of(cluster, table, datacenter="datacenter2")
    assert {node.host for node in second.nodes} == {n.host for n in cluster.nodes[1::2]}
    for key in range(3):
        both = hosts_of(first, key) | hosts_of(second, key)
        assert both == endpoints(cluster, "both", key)
    one = create(cluster, "one", rows=100, datacenter1=1)
    with pytest.raises(ConfigurationError, match="no copies in datacenter 'datacenter2'"):
        topology_of(cluster, one, datacenter="datacenter2")
    far = dataclasses.replace(cluster.source(one), endpoints=(cluster.endpoints[1],))
    with (
        contextlib.closing(connect(far)) as database,
        pytest.raises(ConfigurationError, match=r"no copies in datacenter 'datacenter2'.*some in"),
    ):
        database.check()
    named = dataclasses.replace(far, options={"datacenter": "datacenter1"})
    with contextlib.closing(connect(named)) as database:
        assert database.schema().names == ["id", "v"]
        assert sum(shard.weight for shard in database.topology().shards) == pytest.approx(
            100, abs=2
        )
    with pytest.raises(ConfigurationError, match="no datacenter 'nowhere'"):
        topology_of(cluster, table, datacenter="nowhere")


def test_a_node_that_dies_comes_back_and_others_that_come_and_go_are_seen(
    fresh_cassandra: Start,
) -> None:
    cluster = fresh_cassandra(nodes=3)
    alone = create(cluster, "alone", rows=100)
    with opened(cluster, create(cluster, "twice", 2, rows=100)) as database:
        whole = database.topology()
        cluster.nodes[2].kill()
        down = wait_for(database, lambda topology: len(topology.nodes) == 2)
        assert down.version != whole.version
        assert not down.orphans
        assert f"{cluster.nodes[2].host}:9042) does not answer" in down.warnings[0]
        lost = topology_of(cluster, alone)
        assert lost.orphans
        assert "have no copy on any other live node" in lost.warnings[0]

        cluster.nodes[2].start()
        wait_for(database, lambda topology: topology.version == whole.version)
        cluster.wait_ready()

        cluster.add()
        wait_for(database, lambda topology: bool(topology.moving))
        joined = wait_for(database, lambda topology: len(topology.nodes) == 4)
        joined = wait_for(database, lambda topology: not topology.moving)
        ids: list[ShardId] = [shard.id for shard in whole.shards]
        assert [shard.id for shard in joined.shards] != ids
        assert [shard.id for shard in refit("cassandra", joined, ids).shards] == ids
        assert not refit("cassandra", joined, ids).orphans

        cluster.decommission(cluster.nodes[0])
        wait_for(database, lambda topology: len(topology.nodes) == 3 and not topology.moving)
