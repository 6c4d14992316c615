"""Who holds what: one consistent reading of a database's nodes and shards.

Values only. Databases produce a `Topology` (insitu/databases/*/topology.py); the planner and
the reconcile core consume it and know no database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NewType

NodeId = NewType("NodeId", str)
"""A database node's stable name: Ignite consistent id, Cassandra host id. Never an address."""

ShardId = NewType("ShardId", str)
"""The smallest piece that is assigned, fixed for the whole job. Opaque outside its database."""


@dataclass(frozen=True, slots=True)
class DatabaseNode:
    """A live server that can be read from: `host:port` as other machines reach it."""

    id: NodeId
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Shard:
    """`owners` are the live nodes whose copy is complete and readable, primary first.

    `weight` is the shard's size in rows (exact where the database can tell, else an estimate of
    equal shares); 0 is an empty shard. `moving` says that a further copy is being filled.

    A shard of a running job may come to lie across owners, where the database can move a part of
    it. Then it has no `owners` but `parts`: shards with owners of their own, in reading order.
    """

    id: ShardId
    owners: tuple[NodeId, ...]
    weight: int = 1
    moving: bool = False
    parts: tuple[Shard, ...] = ()

    @property
    def holders(self) -> tuple[NodeId, ...]:
        """Its owners or, of a shard in parts, those of the parts, who holds most first."""
        if not self.parts:
            return self.owners
        rows: dict[NodeId, int] = {}
        for part in self.parts:
            for owner in part.owners:
                rows[owner] = rows.get(owner, 0) + part.weight
        return tuple(sorted(rows, key=lambda owner: (-rows[owner], owner)))

    @property
    def readable(self) -> bool:
        """Whether every row of it is on some live node."""
        if not self.parts:
            return bool(self.owners)
        return all(part.readable for part in self.parts)


@dataclass(frozen=True, slots=True)
class MeasuredLocality:
    """How much of what a node is asked for of its own shards it really reads from its own copy.

    `share` is from 0 to 1, None where it could not be measured. `remedy` says what would make it
    1 for good, or measurable; it is empty when all is local and stays so.
    """

    share: float | None
    remedy: str = ""


@dataclass(frozen=True)
class Topology:
    """One consistent reading.

    `version` changes whenever ownership does, and only compares for equality. `rows` is the
    exact number of rows of the whole table at this moment, None where the database can't say.
    `weights_exact` tells whether shard weights are counted rows or estimates. `locality` None: a
    node of this database can only read its own copy.
    """

    nodes: tuple[DatabaseNode, ...]
    shards: tuple[Shard, ...]
    version: str
    rows: int | None = None
    weights_exact: bool = False
    warnings: tuple[str, ...] = ()
    locality: MeasuredLocality | None = None

    @property
    def weights_known(self) -> bool:
        """False where weights are no more than estimates, and none says that there is a row."""
        return self.weights_exact or any(shard.weight for shard in self.shards)

    @cached_property
    def node(self) -> Mapping[NodeId, DatabaseNode]:
        """Nodes by id."""
        return {node.id: node for node in self.nodes}

    @cached_property
    def orphans(self) -> tuple[ShardId, ...]:
        """Shards that no live node holds a readable copy of. Training must not start."""
        return tuple(shard.id for shard in self.shards if not shard.readable)

    @cached_property
    def moving(self) -> tuple[ShardId, ...]:
        """Shards with a copy under way: another topology is about to follow this one."""
        return tuple(shard.id for shard in self.shards if shard.moving)
