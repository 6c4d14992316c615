"""One consistent reading of a Cassandra table: nodes, token ranges, owners, sizes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from insitu.databases.cassandra.cluster import shards
from insitu.databases.cassandra.cluster.control import Control
from insitu.databases.cassandra.cluster.density import Density
from insitu.databases.cassandra.cluster.locality import measure
from insitu.databases.cassandra.cluster.members import Membership, read_members
from insitu.databases.cassandra.cluster.ring import (
    Member,
    Replication,
    Segment,
    choose_datacenter,
    segments,
)
from insitu.databases.cassandra.cluster.sizes import read_density
from insitu.databases.cassandra.cluster.tables import Table, TableName, find_table
from insitu.databases.cassandra.ranges import RING, TokenRange
from insitu.errors import DatabaseUnavailable
from insitu.topology import DatabaseNode, NodeId, Topology

#: Servers compute their estimates anew this often.
_SIZES_SECONDS = 300.0
#: An empty table may just be being filled.
_EMPTY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Sizes:
    """For the table of that id, read at that time of a monotonic clock."""

    density: Density
    table: str
    at: float

    def holds(self, table: Table, now: float) -> bool:
        patience = _SIZES_SECONDS if self.density.rows(RING) else _EMPTY_SECONDS
        return self.table == table.id and now - self.at < patience


class TopologyReader:
    """Reads again and again; what did not change is not read or computed anew.

    A reading costs two or three small questions to one node. The schema is read when its version
    changed, sizes every five minutes. Use it from one thread at a time.
    """

    def __init__(
        self,
        control: Control,
        table: TableName,
        datacenter: str | None,
        *,
        where: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`datacenter` None: the one of the node that answers first. `where` is the condition on
        rows that are read.
        """
        self._control = control
        self._name = table
        self._datacenter = datacenter
        self._where = where
        self._clock = clock
        self._asked: NodeId | None = None
        self._schema: tuple[str, Table] | None = None
        self._sizes: _Sizes | None = None
        self._newest: tuple[tuple[object, ...], Topology] | None = None

    def read(self) -> Topology:
        """The topology now.

        Raises:
            ConfigurationError: the table can't be trained on, or is not there any more.
            AuthenticationError: the role may not read it.
            DatabaseUnavailable: no node answers.
        """
        membership = self._membership()
        table = self._table(membership)
        chosen = choose_datacenter(
            membership.datacenters, table.replication, self._datacenter, membership.datacenter
        )
        self._datacenter = chosen
        near = [member for member in membership.members if member.datacenter == chosen]
        live = self._control.up([member.id for member in near])
        now = self._clock()
        if self._sizes is None or not self._sizes.holds(table, now):
            density = read_density(self._control, table, sorted(live))
            self._sizes = _Sizes(density, table.id, now)
        state = (membership.members, membership.joining, membership.leaving, table, live)
        key = (*state, self._sizes.density)
        if self._newest is None or self._newest[0] != key:
            topology = assemble(membership, table, chosen, live, self._sizes.density, self._where)
            self._newest = (key, self._measured(table, topology))
        return self._newest[1]

    def _measured(self, table: Table, topology: Topology) -> Topology:
        """With its locality, which is measured anew when owners have changed."""
        before = self._newest[1] if self._newest else None
        if before is not None and before.version == topology.version:
            found = before.locality
        else:
            found = measure(self._control, table, sorted(topology.node), topology.shards)
        return replace(topology, locality=found)

    def _membership(self) -> Membership:
        """As the same node as before sees it, while that one answers."""
        candidates = [self._asked, self._control.contact(), *self._known()]
        failure: DatabaseUnavailable | None = None
        for node in dict.fromkeys(candidates):
            if node is None:
                continue
            try:
                found = read_members(self._control, node)
            except DatabaseUnavailable as error:
                failure = error
                continue
            self._asked = node
            return found
        raise failure or DatabaseUnavailable("no Cassandra node answers")

    def _known(self) -> Iterable[NodeId]:
        return self._newest[1].node if self._newest else ()

    def _table(self, membership: Membership) -> Table:
        if self._schema is None or self._schema[0] != membership.schema_version:
            ask = partial(self._control.mappings, node=membership.asked)
            self._schema = (membership.schema_version, find_table(ask, self._name))
        return self._schema[1]


def assemble(
    membership: Membership,
    table: Table,
    datacenter: str,
    live: frozenset[NodeId],
    density: Density,
    where: str | None = None,
) -> Topology:
    """The topology those readings mean. `live` are the nodes of `datacenter` that answer, and
    rows are read that meet the condition `where`.
    """
    ring = segments(membership.members, table.replication, datacenter)
    near = [member for member in membership.members if member.datacenter == datacenter]

    def moving(piece: Segment) -> bool:
        # Which ranges a joining node will take is known only when it has.
        return bool(membership.joining or membership.leaving.intersection(piece.replicas))

    def samples(tokens: TokenRange) -> float:
        return density.rows(tokens) * (table.packing.size if table.packing else 1)

    return Topology(
        nodes=tuple(
            DatabaseNode(member.id, member.host, member.port)
            for member in near
            if member.id in live
        ),
        shards=shards.shards(
            shards.cut(ring, max(len(near), 1)),
            live=live.__contains__,
            rows=samples,
            moving=moving,
        ),
        version=_version(membership.members, table, datacenter, live),
        warnings=(
            *_warnings(near, live, table.replication, datacenter, ring),
            *_size_warnings(density, where),
        ),
    )


def _version(
    members: Iterable[Member], table: Table, datacenter: str, live: frozenset[NodeId]
) -> str:
    """A digest of the ring, who of it is up, how many copies there are, and the table's schema."""
    digest = hashlib.sha256()
    for member in members:
        digest.update(f"{member} {member.id in live}\n".encode())
    copies = table.replication
    digest.update(
        f"{datacenter} {copies.anywhere} {sorted((copies.datacenters or {}).items())}\n"
        f"{table.id} {sorted(map(str, table.columns))}".encode()
    )
    return digest.hexdigest()[:16]


def _warnings(
    near: Iterable[Member],
    live: frozenset[NodeId],
    replication: Replication,
    datacenter: str,
    ring: Iterable[Segment],
) -> Iterable[str]:
    for member in near:
        if member.id not in live:
            only = sum(set(s.replicas).isdisjoint(live) for s in ring if member.id in s.replicas)
            lost = f"; {only} token ranges have no copy on any other live node" if only else ""
            yield f"node {member.id} ({member.host}:{member.port}) does not answer{lost}"
    copies = (replication.datacenters or {}).get(datacenter, replication.anywhere)
    if copies == 1:
        yield "there is one copy of each row: losing any node loses rows"


def _size_warnings(density: Density, where: str | None) -> Iterable[str]:
    if not density.rows(RING):
        yield (
            "the servers have no estimate of the table's size yet, and no rows were found where"
            " a few were looked for: all shards count as equal (`nodetool flush` and"
            " `nodetool refreshsizeestimates` help)"
        )
        return
    if density.too_few:
        yield (
            "there are more rows than estimated: only the first few hundred of a partition are"
            " looked at, and the table's partitions have more"
        )
    if where is not None:
        yield (
            f"rows are estimated for the whole table; how many of them meet `where` ({where}) is"
            " not known before they are read"
        )
