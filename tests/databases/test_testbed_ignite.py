from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from insitu.databases import Credentials
from testbed import addresses, paths
from testbed.ignite import BootFailed, Cluster
from testbed.ignite.probe import NotReady, seen_from
from testbed.paths import REPOSITORY
from tests.waiting import until

pytestmark = pytest.mark.ignite

Start = Callable[..., Cluster]

STARTS_AND_WAITS = """
import sys
from testbed.ignite import start
with start(nodes=1) as cluster:
    print(cluster.nodes[0].pid, flush=True)
    sys.stdin.read()
"""


def consistent_ids(cluster: Cluster) -> set[str]:
    return {name for (name,) in cluster.sql("SELECT CONSISTENT_ID FROM SYS.NODES")}


def link_jars(cache: Path) -> None:
    """Makes `cache` a cache of its own that needs no download."""
    for jars in paths.cache().glob("ignite-*.*.*"):
        (cache / jars.name).symlink_to(jars)


def run_testbed(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed", "ignite", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"INSITU_CACHE": str(cache)},
    )


def test_every_node_has_its_own_address_and_the_same_port(ignite: Cluster) -> None:
    assert len({host for host, _ in ignite.endpoints}) == 3
    assert {port for _, port in ignite.endpoints} == {10800}
    for host, port in ignite.endpoints:
        assert seen_from(host, port) == {host for host, _ in ignite.endpoints}


def test_nodes_keep_nothing_of_this_environment(ignite: Cluster) -> None:
    names = {name for (name,) in ignite.sql("SELECT NAME FROM SYS.NODE_ATTRIBUTES")}
    assert "LANG" in names
    assert "HOME" not in names


@pytest.mark.parametrize("partitions", [1, 7, 64, 100, 1024])
@pytest.mark.parametrize("backups", [0, 1, 2])
def test_a_template_sets_the_partition_count(
    ignite: Cluster, partitions: int, backups: int
) -> None:
    table = f"TEMPLATE_{partitions}_{backups}"
    ignite.sql(
        f"CREATE TABLE {table} (ID INT PRIMARY KEY, V INT) "
        f'WITH "template=p{partitions},backups={backups}"'
    )
    groups = ignite.sql(
        "SELECT PARTITIONS_COUNT, BACKUPS FROM SYS.CACHE_GROUPS WHERE CACHE_GROUP_NAME = ?",
        f"SQL_PUBLIC_{table}",
    )
    ignite.sql(f"DROP TABLE {table}")
    assert groups == [[partitions, backups]]


def test_a_killed_node_comes_back_under_its_name_and_takes_its_copies(
    fresh_ignite: Start,
) -> None:
    cluster = fresh_ignite(nodes=2, partitions=[8])
    cluster.sql('CREATE TABLE T (ID INT PRIMARY KEY, V INT) WITH "template=p8,backups=1"')
    for number in range(50):
        cluster.sql("INSERT INTO T VALUES (?, ?)", number, number)
    before = cluster.nodes[1].pid
    cluster.nodes[1].kill()
    assert not psutil.pid_exists(before)
    cluster.wait_rebalanced()
    assert consistent_ids(cluster) == {"ignite-0"}
    cluster.nodes[1].start()
    cluster.wait_rebalanced()
    assert consistent_ids(cluster) == {"ignite-0", "ignite-1"}
    cluster.nodes[0].kill()
    cluster.wait_rebalanced()
    # For a moment after a node left, a query may find no partition that it could ask.
    until(lambda: cluster.sql("SELECT COUNT(*) FROM T") == [[50]])


def test_tables_on_disk_survive_a_restart_of_all_nodes(fresh_ignite: Start) -> None:
    cluster = fresh_ignite(nodes=2, persistence=True, partitions=[8])
    cluster.sql('CREATE TABLE T (ID INT PRIMARY KEY, V INT) WITH "template=p8"')
    cluster.sql("INSERT INTO T VALUES (1, 2)")
    for node in cluster.nodes:
        node.stop()
    for node in cluster.nodes:
        node.start()
    cluster.wait_rebalanced()
    assert cluster.sql("SELECT ID, V FROM T") == [[1, 2]]


def test_tls_refuses_who_shows_no_certificate_or_one_of_another_authority(
    ignite_tls: Cluster,
) -> None:
    host, port = ignite_tls.endpoints[0]
    assert ignite_tls.certificates is not None
    client, untrusted = ignite_tls.certificates.client, ignite_tls.certificates.untrusted
    assert seen_from(host, port, tls=client) == {host}
    for wrong in (
        None,
        untrusted,
        dataclasses.replace(client, certificate=None, key=None),
        dataclasses.replace(untrusted, ca=client.ca),
    ):
        with pytest.raises(NotReady):
            seen_from(host, port, tls=wrong)


def test_authentication_refuses_a_wrong_password(ignite_auth: Cluster) -> None:
    host, port = ignite_auth.endpoints[0]
    assert seen_from(host, port, ignite_auth.credentials) == {host}
    for wrong in (None, Credentials("ignite", "guess")):
        with pytest.raises(NotReady, match="password is incorrect"):
            seen_from(host, port, wrong)


def test_the_source_carries_what_a_client_needs(ignite_tls: Cluster, ignite_auth: Cluster) -> None:
    source = ignite_tls.source("T", columns=["A"])
    assert source.endpoints == ignite_tls.endpoints
    assert (source.table, source.columns) == ("T", ("A",))
    assert source.tls == ignite_tls.tls is not None
    assert ignite_auth.source("T").credentials == ignite_auth.credentials is not None


def test_a_failed_boot_shows_why(fresh_ignite: Start) -> None:
    with pytest.raises(BootFailed, match="must have size more than 10MB"):
        fresh_ignite(nodes=1, region_mb=5)


def test_no_node_outlives_the_process_that_started_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout is not None
        node = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    node.wait(timeout=30)


def test_a_network_is_claimed_once() -> None:
    first, second = addresses.claim(10801), addresses.claim(10801)
    assert first.host(1) != second.host(1)
    first.release()
    second.release()


def test_a_network_is_free_again_when_the_claim_is_let_go() -> None:
    first = addresses.claim(10802)
    first.release()
    again = addresses.claim(10802)
    again.release()
    assert again.name == first.name


def test_up_leaves_a_cluster_that_status_sees_and_down_stops(tmp_path: Path) -> None:
    link_jars(tmp_path)
    try:
        up = run_testbed("up", "--nodes", "2", cache=tmp_path)
        assert up.returncode == 0, up.stderr
        status = run_testbed("status", cache=tmp_path)
        assert status.returncode == 0, status.stdout + status.stderr
        assert status.stdout.count("yes") == 2
        assert run_testbed("up", cache=tmp_path).returncode == 1
    finally:
        down = run_testbed("down", cache=tmp_path)
    assert down.stdout == "stopped 2 nodes\n"
    assert run_testbed("status", cache=tmp_path).returncode == 1


def test_what_a_dead_cluster_left_is_removed_by_the_next(
    fresh_ignite: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link_jars(tmp_path)
    monkeypatch.setenv("INSITU_CACHE", str(tmp_path))
    left = tmp_path / "clusters" / "253" / "ignite-0"
    left.mkdir(parents=True)
    cluster = fresh_ignite(nodes=1)
    assert not left.exists()
    assert cluster.nodes[0].folder.is_relative_to(tmp_path)
