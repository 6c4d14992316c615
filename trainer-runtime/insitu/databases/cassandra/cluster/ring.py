"""Which nodes hold which tokens: the ring's ranges with all their replicas. Pure.

Placement as the servers do it: SimpleStrategy and NetworkTopologyStrategy of Apache Cassandra
4.0 and newer (org.apache.cassandra.locator); older ones choose the same sets of nodes.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from insitu.databases.cassandra.ranges import FIRST, LAST, TokenRange
from insitu.errors import ConfigurationError, nearest
from insitu.topology import NodeId


@dataclass(frozen=True, slots=True)
class Member:
    """A node with tokens, whether it is up or not; `host:port` as other machines reach it."""

    id: NodeId
    host: str
    port: int
    datacenter: str
    rack: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """A range whose rows all have the same replicas, primary first."""

    tokens: TokenRange
    replicas: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Replication:
    """How many copies there are: in all, or in each of `datacenters`; one of the two is set."""

    anywhere: int | None = None
    datacenters: Mapping[str, int] | None = None


def parse_replication(keyspace: str, options: Mapping[str, str]) -> Replication:
    """From `system_schema.keyspaces.replication`.

    Raises:
        ConfigurationError: the keyspace is local to each node, or its strategy is not known.
    """
    strategy = options.get("class", "").rsplit(".", 1)[-1]
    if strategy == "SimpleStrategy":
        return Replication(anywhere=_copies(options.get("replication_factor", "1")))
    if strategy == "NetworkTopologyStrategy":
        return Replication(
            datacenters={
                name: _copies(copies) for name, copies in options.items() if name != "class"
            }
        )
    if strategy == "LocalStrategy":
        raise ConfigurationError(
            f"keyspace '{keyspace}' is local to each node: every node has rows of its own there,"
            " and they are no table to train on"
        )
    raise ConfigurationError(
        f"keyspace '{keyspace}' places its copies by '{strategy}', which is not known here:"
        " SimpleStrategy and NetworkTopologyStrategy are"
    )


def _copies(text: str) -> int:
    """Full copies; `3/1` is three with one transient, which holds no repaired rows."""
    total, _, transient = text.partition("/")
    return int(total) - int(transient or 0)


def choose_datacenter(
    known: Collection[str], replication: Replication, wanted: str | None, contact: str
) -> str:
    """Which of the `known` datacenters to read in: the `wanted` one, or that of the node first
    asked.

    Raises:
        ConfigurationError: there is none of that name, or the keyspace has no copies in it.
    """
    if wanted is not None and wanted not in known:
        raise ConfigurationError(
            f"the cluster has no datacenter '{wanted}'{nearest(wanted, known)}"
        )
    chosen = wanted or contact
    copies = replication.datacenters
    if copies is not None and not copies.get(chosen):
        where = ", ".join(sorted(name for name, count in copies.items() if count)) or "none"
        raise ConfigurationError(
            f"the keyspace has no copies in datacenter '{chosen}' (it has some in: {where});"
            " set spec.data.cassandra.datacenter to one of those"
        )
    return chosen


def segments(
    members: Sequence[Member], replication: Replication, datacenter: str
) -> tuple[Segment, ...]:
    """The whole ring in ascending order; neighbours with the same replicas are one.

    With copies by datacenter only that datacenter's own tokens and nodes count.
    """
    if replication.datacenters is None:
        taking_part = list(members)
        copies = replication.anywhere or 0
    else:
        taking_part = [member for member in members if member.datacenter == datacenter]
        copies = replication.datacenters.get(datacenter, 0)
    places = sorted((token, member) for member in taking_part for token in member.tokens)
    tokens = [token for token, _ in places]
    if not tokens or not copies:
        return ()
    walk = _Walk([member for _, member in places], copies, racks=replication.anywhere is None)
    found: list[Segment] = []
    bounds = [FIRST, *(token for token in tokens if FIRST < token < LAST), LAST]
    for start, end in itertools.pairwise(bounds):
        # Behind the last token the ring goes on with the first.
        replicas = walk.replicas(bisect.bisect_left(tokens, end) % len(tokens))
        if found and found[-1].replicas == replicas:
            found[-1] = Segment(TokenRange(found[-1].tokens.start, end), replicas)
        else:
            found.append(Segment(TokenRange(start, end), replicas))
    return tuple(found)


class _Walk:
    """Goes round the ring from a token until it has met as many nodes as there are copies."""

    def __init__(self, ring: Sequence[Member], copies: int, *, racks: bool) -> None:
        self._ring = ring
        self._copies = min(copies, len({member.id for member in ring}))
        # That many replicas may share a rack with an earlier one.
        racks_there = len({member.rack for member in ring})
        self._repeats = copies - racks_there if racks else copies

    def replicas(self, index: int) -> tuple[NodeId, ...]:
        met: list[NodeId] = []
        racks: set[str] = set()
        repeats = self._repeats
        for step in range(len(self._ring)):
            member = self._ring[(index + step) % len(self._ring)]
            if member.id in met:
                continue
            if member.rack in racks:
                if repeats <= 0:
                    continue
                repeats -= 1
            racks.add(member.rack)
            met.append(member.id)
            if len(met) == self._copies:
                break
        return tuple(met)
