"""Who holds what, read from real clusters that are whole, that lose nodes, and that get them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from uuid import UUID

import pyarrow as pa
import pytest

from insitu.databases import connect
from insitu.databases.ignite.cluster import affinity
from insitu.databases.ignite.cluster.catalog import find_table
from insitu.databases.ignite.cluster.nodes import read_nodes
from insitu.databases.ignite.protocol import sql
from insitu.databases.ignite.protocol.connection import Connection
from insitu.errors import ConfigurationError
from insitu.topology import Topology
from testbed.ignite import Cluster

pytestmark = pytest.mark.ignite

Start = Callable[..., Cluster]


def create(cluster: Cluster, name: str, options: str, rows: int = 0) -> str:
    cluster.sql(f'CREATE TABLE {name} (ID INT PRIMARY KEY, V INT) WITH "{options}"')
    if rows:
        cluster.sql(f"INSERT INTO {name} (ID, V) SELECT X, X FROM SYSTEM_RANGE(1, {rows})")
    return name


def topology_of(cluster: Cluster, name: str) -> Topology:
    with contextlib.closing(connect(cluster.source(name))) as database:
        return database.topology()


def settled(cluster: Cluster, name: str) -> Topology:
    """The topology once no copy is moving."""
    cluster.wait_rebalanced()
    deadline = time.monotonic() + 30
    while (topology := topology_of(cluster, name)).moving:
        assert time.monotonic() < deadline
    return topology


@pytest.mark.parametrize("partitions", [1, 7, 64, 100, 1024])
@pytest.mark.parametrize("backups", [0, 1, 2])
def test_every_partition_has_all_its_copies(ignite: Cluster, partitions: int, backups: int) -> None:
    name = create(
        ignite, f"TOPO_{partitions}_{backups}", f"template=p{partitions},backups={backups}"
    )
    topology = topology_of(ignite, name)
    assert [shard.id for shard in topology.shards] == [str(p) for p in range(partitions)]
    assert {len(set(shard.owners)) for shard in topology.shards} == {backups + 1}
    assert topology.orphans == topology.moving == ()
    ignite.sql(f"DROP TABLE {name}")


def test_nodes_have_their_lasting_names_and_addresses(ignite: Cluster) -> None:
    topology = topology_of(ignite, create(ignite, "TOPO_NODES", "template=p7"))
    expected = {(node.id, node.host, node.port) for node in ignite.nodes}
    assert {(node.id, node.host, node.port) for node in topology.nodes} == expected


def test_nodes_are_known_without_sql_too(ignite: Cluster) -> None:
    def never(host: str, port: int) -> UUID:
        raise AssertionError(f"{host}:{port} was asked")

    with Connection.open(*ignite.endpoints[0]) as connection:
        by_sql = read_nodes(connection, never, with_sql=True)
        assert read_nodes(connection, never, with_sql=False) == by_sql


def test_the_primary_comes_first(ignite: Cluster) -> None:
    name = create(ignite, "TOPO_PRIMARY", "template=p64,backups=2")
    topology = topology_of(ignite, name)
    with Connection.open(*ignite.endpoints[0]) as connection:
        _, primaries = affinity.read_primaries(connection, find_table(connection, name))
        names: dict[UUID, str] = dict(
            sql.query(connection, "SELECT NODE_ID, CONSISTENT_ID FROM SYS.NODES")
        )
    assert primaries is not None
    assert [shard.owners[0] for shard in topology.shards] == [
        names[partition.owners[0]] for partition in primaries
    ]


def test_weights_are_counted_rows(ignite: Cluster) -> None:
    name = create(ignite, "TOPO_WEIGHTS", "template=p7,backups=1", rows=1000)
    topology = topology_of(ignite, name)
    with Connection.open(*ignite.endpoints[1]) as connection:
        counted = [
            sql.query(connection, f"SELECT COUNT(*) FROM {name}", partitions=[p])[0][0]
            for p in range(7)
        ]
    assert topology.weights_exact
    assert topology.rows == 1000 == sum(counted)
    assert [shard.weight for shard in topology.shards] == counted


def test_a_table_too_large_to_count_has_equal_shares(ignite: Cluster) -> None:
    batch = pa.record_batch({"ID": range(60_000), "V": range(60_000)})
    with contextlib.closing(connect(ignite.source("TOPO_SHARES"))) as database:
        options = {"template": "p1024", "backups": "0"}
        with contextlib.closing(
            database.writer(batch.schema, key=["ID"], options=options)
        ) as writer:
            writer.write(batch)
        topology = database.topology()
    assert not topology.weights_exact
    assert sum(shard.weight for shard in topology.shards) == topology.rows == 60_000
    assert {shard.weight for shard in topology.shards} <= {58, 59}
    ignite.sql("DROP TABLE TOPO_SHARES")


def test_a_replicated_table_is_held_by_every_node(ignite: Cluster) -> None:
    name = create(ignite, "TOPO_REPLICATED", "template=replicated", rows=10)
    topology = topology_of(ignite, name)
    assert {len(shard.owners) for shard in topology.shards} == {3}
    assert topology.rows == 10
    assert topology.warnings == ()


def test_tables_of_one_group_have_their_own_rows(ignite: Cluster) -> None:
    first = create(ignite, "TOPO_GROUP_A", "template=p7,CACHE_GROUP=TOPO_GROUP", rows=30)
    second = create(ignite, "TOPO_GROUP_B", "template=p7,CACHE_GROUP=TOPO_GROUP", rows=12)
    a, b = topology_of(ignite, first), topology_of(ignite, second)
    assert (a.rows, b.rows) == (30, 12)
    assert [shard.owners for shard in a.shards] == [shard.owners for shard in b.shards]


def test_a_cache_without_sql_is_a_table_too(ignite: Cluster) -> None:
    with ignite.client() as client:
        cache = client.get_or_create_cache("p7_topo_plain")
        cache.put_all(dict.fromkeys(range(20), b"x"))
    topology = topology_of(ignite, "p7_topo_plain")
    assert len(topology.shards) == 7
    assert topology.rows == sum(shard.weight for shard in topology.shards) == 20


def test_the_version_stays_while_nothing_moves(ignite: Cluster) -> None:
    name = create(ignite, "TOPO_VERSION", "template=p7")
    before = topology_of(ignite, name).version
    create(ignite, "TOPO_VERSION_OTHER", "template=p7")  # a new cache changes Ignite's own version
    assert topology_of(ignite, name).version == before


@pytest.mark.parametrize("spelling", ["TOPO_NAME", "topo_name", "public.Topo_Name", "topo-cache"])
def test_a_table_is_found_by_any_of_its_names(ignite: Cluster, spelling: str) -> None:
    ignite.sql(
        "CREATE TABLE IF NOT EXISTS TOPO_NAME (ID INT PRIMARY KEY, V INT) "
        'WITH "CACHE_NAME=topo-cache"'
    )
    with Connection.open(*ignite.endpoints[0]) as connection:
        assert find_table(connection, spelling).cache == "topo-cache"


def test_an_unknown_table_is_refused_with_the_nearest_name(ignite: Cluster) -> None:
    create(ignite, "TOPO_HOUSES", "template=p1")
    with pytest.raises(ConfigurationError, match=r"'topo_hoses'.*did you mean 'TOPO_HOUSES'"):
        topology_of(ignite, "topo_hoses")


def test_no_backups_and_silent_loss_are_warned_of(ignite: Cluster) -> None:
    topology = topology_of(ignite, create(ignite, "TOPO_WARNED", "template=p1,backups=0"))
    assert any("no backups" in warning for warning in topology.warnings)
    assert any("READ_WRITE_SAFE" in warning for warning in topology.warnings)


def test_a_killed_nodes_copies_are_gone_and_come_back(fresh_ignite: Start) -> None:
    cluster = fresh_ignite(nodes=3)
    name = create(cluster, "T", "template=p64,backups=1", rows=500)
    whole = topology_of(cluster, name)

    cluster.nodes[2].kill()
    without = settled(cluster, name)
    assert {node.id for node in without.nodes} == {"ignite-0", "ignite-1"}
    assert {owner for shard in without.shards for owner in shard.owners} <= {"ignite-0", "ignite-1"}
    assert without.version != whole.version
    assert without.rows == 500

    cluster.nodes[2].start()
    again = settled(cluster, name)
    assert {node.id for node in again.nodes} == {node.id for node in whole.nodes}
    assert again.version not in (whole.version, without.version)
    assert again.rows == 500


def test_readings_during_a_restart_never_show_a_copy_that_is_not_whole(
    fresh_ignite: Start,
) -> None:
    cluster = fresh_ignite(nodes=2)
    name = create(cluster, "T", "template=p64,backups=1", rows=500)
    cluster.nodes[1].kill()
    cluster.nodes[1].start()
    deadline = time.monotonic() + 60
    with contextlib.closing(connect(cluster.source(name))) as database:
        while True:
            topology = database.topology()
            assert topology.orphans == ()
            known = {node.id for node in topology.nodes}
            assert all(set(shard.owners) <= known for shard in topology.shards)
            if all(len(shard.owners) == 2 for shard in topology.shards):
                break
            assert time.monotonic() < deadline
    assert topology.rows == 500


def test_a_partition_that_lost_every_copy_has_no_owner(fresh_ignite: Start) -> None:
    cluster = fresh_ignite(nodes=2, persistence=True)
    name = create(cluster, "T", "template=p64,backups=0", rows=100)
    held = {
        shard.id for shard in topology_of(cluster, name).shards if shard.owners == ("ignite-1",)
    }
    cluster.nodes[1].kill()
    cluster.wait_ready()
    topology = topology_of(cluster, name)
    assert set(topology.orphans) == held
    assert held


def test_lost_partitions_are_told_in_every_reading_until_they_are_reset(
    fresh_ignite: Start,
) -> None:
    """A count that fails leaves a cursor behind, and a connection may have 128 of them."""
    cluster = fresh_ignite(nodes=2)
    name = create(cluster, "LOST", "template=safe64,backups=0", rows=100)
    held = {s.id for s in topology_of(cluster, name).shards if s.owners == ("ignite-1",)}
    with contextlib.closing(connect(cluster.source(name))) as database:
        cluster.nodes[1].kill()
        for _ in range(40):
            topology = database.topology()
            if topology.orphans:
                assert set(topology.orphans) == held
            assert not any("SQL" in warning for warning in topology.warnings)
    assert topology.orphans


def test_partitions_are_counted_again_only_when_the_table_has_another_size(
    ignite: Cluster,
) -> None:
    name = create(ignite, "COUNTED", "template=p7,backups=1", rows=100)
    with contextlib.closing(connect(ignite.source(name))) as database:
        first = database.topology()
        ignite.sql(f"DELETE FROM {name} WHERE ID <= 10")
        fewer = database.topology()
        again = database.topology()
    assert first.weights_exact
    assert fewer.weights_exact
    assert [sum(s.weight for s in t.shards) for t in (first, fewer)] == [100, 90]
    assert again == fewer


_WITHOUT_ARROW = """
import sys
sys.modules["pyarrow"] = None
import insitu_operator.shell.main
from insitu.databases import DataSource, connect
database = connect(DataSource("ignite", ((sys.argv[1], int(sys.argv[2])),), sys.argv[3]))
database.check()
print(database.topology().rows)
"""


def test_the_operator_reads_a_topology_without_loading_arrow(ignite: Cluster) -> None:
    host, port = ignite.endpoints[0]
    table = create(ignite, "LIGHT", "template=partitioned", rows=7)
    command = [sys.executable, "-c", _WITHOUT_ARROW, host, str(port), table]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "7\n", done.stderr
