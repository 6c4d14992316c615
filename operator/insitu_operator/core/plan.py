"""A plan: which rank works beside which database node, on which shards. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from insitu.api.status import Count
from insitu.topology import NodeId, ShardId


@dataclass(frozen=True, slots=True)
class Assigned:
    """One rank's part. `remote` are those of its `shards` whose copy is on another database
    node (only ever non-empty when locality is not Required).
    """

    rank: Count
    node: NodeId
    shards: tuple[ShardId, ...]
    weight: Count
    remote: tuple[ShardId, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Disjoint and covering: every shard of the topology is in exactly one rank's `shards`.

    `topology` is the version the plan was made from. `notes` explains, in sentences a user
    reads, every remote shard and every imbalance that replicas left no way around. `own_copies`
    is how much of what database nodes are asked for they read from their own copies, 0 to 1, as
    measured before; None where that goes without saying, or could not be measured.
    """

    generation: Count
    topology: str
    ranks: tuple[Assigned, ...]
    notes: tuple[str, ...] = ()
    own_copies: float | None = None

    @property
    def world_size(self) -> int:
        return len(self.ranks)

    @property
    def rank_of(self) -> Mapping[ShardId, int]:
        """The rank that reads each shard. Not kept: plans live as long as jobs, by the hundred."""
        return {shard: part.rank for part in self.ranks for shard in part.shards}

    @property
    def imbalance(self) -> float:
        """Heaviest rank's weight over the mean; 1.0 is perfect."""
        total = sum(part.weight for part in self.ranks)
        return max(p.weight for p in self.ranks) * self.world_size / total if total else 1.0
