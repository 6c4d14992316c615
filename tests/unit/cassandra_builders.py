"""Rings in one line."""

from __future__ import annotations

import random

from insitu.databases.cassandra.cluster import shards
from insitu.databases.cassandra.cluster.density import Density, Probe
from insitu.databases.cassandra.cluster.members import Membership
from insitu.databases.cassandra.cluster.ring import Member, Replication
from insitu.databases.cassandra.cluster.tables import Table, TableColumn, TableName
from insitu.databases.cassandra.cluster.topology import assemble
from insitu.databases.cassandra.ranges import FIRST, LAST, RING
from insitu.topology import NodeId, Topology

EVEN = Density([], [Probe(RING, 1_000_000)])


def ring(
    nodes: int, vnodes: int = 16, racks: int = 1, datacenters: int = 1, seed: int = 0
) -> list[Member]:
    """Nodes `n0`, `n1`, ... with tokens drawn by chance, dealt over datacenters and racks."""
    draw = random.Random(f"{nodes} {vnodes} {seed}")
    return [
        Member(
            NodeId(f"n{number}"),
            f"10.0.0.{number}",
            9042,
            f"dc{number % datacenters}",
            f"r{number // datacenters % racks}",
            tuple(sorted(draw.randrange(FIRST, LAST) for _ in range(vnodes))),
        )
        for number in range(nodes)
    ]


def table(copies: int | None = None, **datacenters: int) -> Table:
    replication = Replication(copies, None if copies else datacenters)
    columns = (TableColumn("id", "partition_key", 0, "int"), TableColumn("v", "regular", -1, "int"))
    return Table(TableName("k", "t"), "1", replication, columns)


def topology_of(
    members: list[Member],
    copies: int,
    *,
    down: str = "",
    joining: str = "",
    leaving: str = "",
    density: Density = EVEN,
    where: str | None = None,
) -> Topology:
    """What those readings mean; names of nodes are separated by spaces."""
    named = {text: frozenset(map(NodeId, text.split())) for text in (down, joining, leaving)}
    live = frozenset(member.id for member in members) - named[down]
    seen = Membership(
        members[0].id, members[0].datacenter, "1", tuple(members), named[joining], named[leaving]
    )
    return assemble(seen, table(copies), members[0].datacenter, live, density, where)


__all__ = ["EVEN", "ring", "shards", "table", "topology_of"]
