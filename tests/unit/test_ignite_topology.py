"""What readings of the system views mean, without any server."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.databases.ignite.cluster.affinity import Copy, Group, Partition, partitions_of
from insitu.databases.ignite.cluster.nodes import ServerNode, reachable
from insitu.databases.ignite.cluster.topology import assemble
from insitu.databases.ignite.cluster.weights import equal_shares, worth_counting
from insitu.errors import DatabaseUnavailable
from insitu.topology import DatabaseNode, NodeId, Topology

A, B, C = (UUID(int=number) for number in (1, 2, 3))
GROUP = Group(1, "PARTITIONED", 1, 1, "READ_WRITE_SAFE")


def server(run: UUID, name: str, host: str = "10.0.0.1") -> ServerNode:
    return ServerNode(run, DatabaseNode(NodeId(name), host, 10800))


SERVERS = (server(A, "a"), server(B, "b"), server(C, "c"))


def owning(run: UUID, *, primary: bool = False) -> Copy:
    return Copy(0, run, "OWNING", primary)


def topology(
    *partitions: Partition, group: Group | None = GROUP, servers: tuple[ServerNode, ...] = SERVERS
) -> Topology:
    return assemble(servers, partitions, 0, [0] * len(partitions), True, group)


def test_only_complete_copies_count_and_the_primary_comes_first() -> None:
    copies = [owning(A), owning(C, primary=True), Copy(0, B, "RENTING", False)]
    assert partitions_of(copies, 1) == (Partition((C, A)),)


def test_a_primary_that_is_still_being_filled_is_no_owner() -> None:
    copies = [Copy(0, A, "MOVING", True), owning(B)]
    assert partitions_of(copies, 1) == (Partition((B,), moving=True),)


def test_a_lost_partition_has_no_owner_even_if_a_copy_claims_to_be_whole() -> None:
    found = partitions_of([Copy(0, A, "LOST", True), owning(B)], 1)
    assert topology(*found).orphans == ("0",)


def test_a_partition_without_copies_is_an_orphan() -> None:
    assert topology(*partitions_of([], 2)).orphans == ("0", "1")


def test_an_owner_that_cant_be_read_from_is_left_out_and_warned_of() -> None:
    found = topology(Partition((A, B)), servers=SERVERS[1:])
    assert found.shards[0].owners == ("b",)
    assert "no client port" in found.warnings[0]


def test_readings_without_sql_say_what_they_lack() -> None:
    assert "ignite-indexing" in topology(Partition((A,)), group=None).warnings[0]


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (Group(1, "PARTITIONED", 1, 0, "READ_WRITE_SAFE"), ["no backups"]),
        (Group(1, "PARTITIONED", 1, 1, "IGNORE"), ["IGNORE"]),
        (Group(1, "REPLICATED", 1, 0, "IGNORE"), []),
        (GROUP, []),
    ],
)
def test_risks_are_warned_of(group: Group, words: list[str]) -> None:
    warnings = topology(Partition((A,)), group=group).warnings
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


def test_a_restart_of_a_node_is_another_version() -> None:
    before = topology(Partition((A,)), servers=(server(A, "a"),))
    after = topology(Partition((B,)), servers=(server(B, "a"),))
    assert before.shards == after.shards
    assert before.version != after.version


def test_rows_and_moving_copies_do_not_change_the_version() -> None:
    before = assemble(SERVERS, [Partition((A,))], 5, [5], True, GROUP)
    after = assemble(SERVERS, [Partition((A,), moving=True)], 6, [6], False, GROUP)
    assert before.version == after.version


@given(st.integers(0, 10**12), st.integers(1, 2000))
def test_equal_shares_add_up(rows: int, partitions: int) -> None:
    shares = equal_shares(rows, partitions)
    assert sum(shares) == rows
    assert max(shares) - min(shares) <= 1


def test_small_tables_are_counted_and_large_ones_are_not() -> None:
    assert worth_counting(1_000_000, 64)
    assert worth_counting(10_000, 1024)
    assert not worth_counting(1_000_000, 1024)
    assert not worth_counting(0, 65_536)


def test_a_single_address_is_taken_as_it_is() -> None:
    def never(host: str, port: int) -> UUID:
        raise AssertionError(f"{host}:{port} was asked")

    assert reachable(A, ["10.0.0.1"], 10800, never) == "10.0.0.1"


def test_of_several_addresses_the_one_that_leads_there_is_taken() -> None:
    nodes = {"172.17.0.1": B, "10.0.0.1": A, "127.0.0.1": A}

    def identify(host: str, port: int) -> UUID:
        if host not in nodes:
            raise DatabaseUnavailable(host)
        return nodes[host]

    hosts = ["127.0.0.1", "192.168.9.9", "172.17.0.1", "10.0.0.1"]
    assert reachable(A, hosts, 10800, identify) == "10.0.0.1"


def test_where_none_can_be_asked_loopback_is_the_last_choice() -> None:
    def silent(host: str, port: int) -> UUID:
        raise DatabaseUnavailable(host)

    assert reachable(A, ["127.0.0.1", "::1", "10.0.0.1"], 10800, silent) == "10.0.0.1"
