"""Who holds which tokens, by the rules of the servers."""

from __future__ import annotations

import bisect
import itertools

import pytest
from cassandra.metadata import (
    Murmur3Token,
    NetworkTopologyStrategy,
    SimpleStrategy,
    Token,
)
from cassandra.pool import Host
from hypothesis import assume, given
from hypothesis import strategies as st

from insitu.databases.cassandra.cluster.ring import (
    Member,
    Replication,
    Segment,
    choose_datacenter,
    parse_replication,
    segments,
)
from insitu.databases.cassandra.ranges import FIRST, LAST
from insitu.errors import ConfigurationError
from insitu.topology import NodeId
from tests.unit.cassandra_builders import ring


def member(name: str, *tokens: int, rack: str = "r", datacenter: str = "dc0") -> Member:
    return Member(NodeId(name), name, 9042, datacenter, rack, tokens)


def as_text(found: tuple[Segment, ...]) -> list[str]:
    return [f"{s.tokens.start}:{s.tokens.end} {' '.join(s.replicas)}" for s in found]


def by_driver(
    members: list[Member], strategy: SimpleStrategy | NetworkTopologyStrategy, datacenter: str
) -> dict[int, list[str]]:
    """The driver's own replicas of the range that ends at each token."""
    owner: dict[Token, Host] = {}
    for one in members:
        host = Host(one.host, lambda _: None, datacenter=one.datacenter, rack=one.rack)
        host.host_id = one.id
        owner |= dict.fromkeys(map(Murmur3Token, one.tokens), host)
    order = sorted(owner)
    placed = strategy.make_token_replica_map(owner, order)
    return {
        token.value: sorted({host.host_id for host in hosts if host.datacenter == datacenter})
        for token, hosts in placed.items()
    }


def test_a_node_holds_what_ends_at_its_token_and_the_first_one_what_is_behind_the_last() -> None:
    found = segments([member("a", -10), member("b", 20)], Replication(1), "dc0")
    assert as_text(found) == [f"{FIRST}:-10 a", "-10:20 b", f"20:{LAST} a"]


def test_copies_are_on_the_next_nodes_of_the_ring() -> None:
    members = [member("a", -10, 30), member("b", 20), member("c", 40)]
    found = segments(members, Replication(2), "dc0")
    assert as_text(found) == [
        f"{FIRST}:-10 a b",
        "-10:20 b a",
        "20:30 a c",
        "30:40 c a",
        f"40:{LAST} a b",
    ]


def test_neighbours_with_the_same_copies_are_one_range() -> None:
    found = segments([member("a", -10, 5), member("b", 20)], Replication(1), "dc0")
    assert as_text(found) == [f"{FIRST}:5 a", "5:20 b", f"20:{LAST} a"]


def test_copies_go_to_different_racks_first() -> None:
    members = [member("a", 0, rack="x"), member("b", 10, rack="x"), member("c", 20, rack="y")]
    found = segments(members, Replication(datacenters={"dc0": 2}), "dc0")
    assert [sorted(s.replicas) for s in found if s.tokens.end == 0] == [["a", "c"]]


def test_the_least_and_the_greatest_token_may_be_owned() -> None:
    found = segments([member("a", FIRST), member("b", LAST)], Replication(1), "dc0")
    assert as_text(found) == [f"{FIRST}:{LAST} b"]


@given(
    nodes=st.integers(1, 9),
    vnodes=st.sampled_from([1, 4, 16]),
    racks=st.integers(1, 4),
    datacenters=st.integers(1, 2),
    copies=st.integers(1, 5),
    simple=st.booleans(),
)
def test_replicas_are_those_of_the_driver(
    nodes: int, vnodes: int, racks: int, datacenters: int, copies: int, simple: bool
) -> None:
    # With more copies than racks the driver counts some nodes twice.
    assume(simple or racks == 1 or copies <= min(racks, nodes // datacenters))
    members = ring(nodes, vnodes, racks, datacenters)
    if simple:
        expected = by_driver(members, SimpleStrategy({"replication_factor": copies}), "dc0")
        found = segments(members, Replication(copies), "dc0")
        found = tuple(
            Segment(
                s.tokens, tuple(n for n in s.replicas if members[int(n[1:])].datacenter == "dc0")
            )
            for s in found
        )
    else:
        expected = by_driver(members, NetworkTopologyStrategy({"dc0": copies}), "dc0")
        found = segments(members, Replication(datacenters={"dc0": copies}), "dc0")
    ends = [segment.tokens.end for segment in found]
    for token, replicas in expected.items():
        segment = found[bisect.bisect_left(ends, token)] if token > FIRST else found[-1]
        assert sorted(segment.replicas) == replicas


@given(st.integers(1, 9), st.sampled_from([1, 16]), st.integers(1, 5))
def test_ranges_are_the_whole_ring_without_gaps(nodes: int, vnodes: int, copies: int) -> None:
    found = segments(ring(nodes, vnodes), Replication(copies), "dc0")
    assert found[0].tokens.start == FIRST
    assert found[-1].tokens.end == LAST
    assert all(a.tokens.end == b.tokens.start for a, b in itertools.pairwise(found))


def test_a_datacenter_has_to_be_there_and_to_hold_copies() -> None:
    members = {member.datacenter for member in ring(4, datacenters=2)}
    copies = Replication(datacenters={"dc0": 2})
    assert choose_datacenter(members, copies, None, "dc0") == "dc0"
    with pytest.raises(ConfigurationError, match=r"no copies in datacenter 'dc1' .it has .* dc0"):
        choose_datacenter(members, copies, "dc1", "dc0")
    with pytest.raises(ConfigurationError, match=r"no datacenter 'dc3' .did you mean 'dc[01]'"):
        choose_datacenter(members, copies, "dc3", "dc0")


def test_replication_is_read_as_the_servers_write_it() -> None:
    prefix = "org.apache.cassandra.locator."
    simple = {"class": f"{prefix}SimpleStrategy", "replication_factor": "3"}
    assert parse_replication("k", simple) == Replication(3)
    by_datacenter = {"class": f"{prefix}NetworkTopologyStrategy", "dc0": "3/1", "dc1": "2"}
    assert parse_replication("k", by_datacenter) == Replication(datacenters={"dc0": 2, "dc1": 2})
    with pytest.raises(ConfigurationError, match="'system' is local to each node"):
        parse_replication("system", {"class": f"{prefix}LocalStrategy"})
    with pytest.raises(ConfigurationError, match="places its copies by 'EverywhereStrategy'"):
        parse_replication("k", {"class": f"{prefix}EverywhereStrategy"})
