"""Whether a plan still fits the database."""

from __future__ import annotations

from insitu.api import Locality
from insitu.topology import Topology
from insitu_operator.core.plan import Plan


def misfit(plan: Plan, topology: Topology, locality: Locality) -> str:
    """The first thing that makes `plan` out of date, as a sentence; empty if it fits.

    A database node that came is no misfit: it matters once shards have moved to it.
    """
    if plan.topology == topology.version:
        return ""
    gone = [part for part in plan.ranks if part.node not in topology.node]
    if gone:
        ranks = ", ".join(f"{part.node} (rank {part.rank})" for part in gone[:5])
        more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
        return f"database node {ranks}{more} went away"
    owners = {shard.id: shard.owners for shard in topology.shards}
    planned = plan.rank_of.keys()
    if owners.keys() != planned:
        return (
            f"the table has {len(owners)} shards, not the {len(planned)} that were planned"
            if len(owners) != len(planned)
            else "the table's shards have other names than those that were planned"
        )
    if locality is Locality.IGNORED:
        return ""
    for part in plan.ranks:
        remote = set(part.remote)
        for shard in part.shards:
            if shard not in remote and part.node not in owners[shard]:
                return f"shard {shard} moved away from {part.node} (rank {part.rank})"
    return ""
