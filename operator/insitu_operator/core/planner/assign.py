"""Decides which rank reads which shards: topology in, plan out.

Disjoint and covering; every shard with one of its owners; balanced over replicas; and moving as
few shards as that allows. How it is balanced, by which algorithms and how exactly: balance.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from insitu.api import Locality
from insitu.errors import ConfigurationError, DataLost, nearest
from insitu.topology import NodeId, Shard, ShardId, Topology
from insitu_operator.core.plan import Assigned, Plan
from insitu_operator.core.planner.balance import spread
from insitu_operator.core.planner.explain import notes
from insitu_operator.core.planner.measured import measured, refuse_elsewhere
from insitu_operator.core.planner.names import named, named_nodes, natural
from insitu_operator.core.planner.nodes import choose_nodes, keep_ranks
from insitu_operator.core.planner.placement import NOWHERE, Items

_ALL = 16
"""Up to this many ranks, a shard that any rank may read is tried on each of them."""


def plan(
    topology: Topology,
    *,
    generation: int,
    locality: str = Locality.REQUIRED,
    previous: Plan | None = None,
    max_ranks: int | None = None,
    eligible: Collection[NodeId] | None = None,
) -> Plan:
    """The plan of a generation. The same input, in any order, gives the same plan.

    There is a rank for each live and eligible node that owns a shard, or for `max_ranks` of
    them. Ranks are numbered by node id; a node of the previous plan keeps its rank where it can.

    Balance comes first, by weight: the heaviest rank is at most 1 % heavier than a bound below
    which it can't be. Weights may be too coarse for that; then the most even plan found takes the
    bound's place (with equal weights it is the most even there is). Within that, as few shards as
    possible leave the node they had in the previous plan. Shards without rows are spread by
    number, in the same way: each still costs a query.

    Args:
        topology: a reading of the database; `moving` copies are not considered.
        generation: the plan's own.
        locality: `Required` and `Preferred` give each shard to one of its owners. A shard with
            no owner among the ranks is refused by `Required`, and read remotely by `Preferred`.
            `Ignored` spreads without regard to owners.
        previous: the plan to stay close to.
        max_ranks: at most so many ranks, on nodes that own everything together if any do.
        eligible: the nodes that can have a rank; None is all.

    Raises:
        DataLost: a shard has no owner at all.
        ConfigurationError: no node can have a rank, `locality` can't be kept, or is unknown.
    """
    if locality not in list(Locality):
        raise ConfigurationError(f"locality '{locality}' is not known{nearest(locality, Locality)}")
    if max_ranks is not None and max_ranks < 1:
        raise ConfigurationError(f"maxRanks is {max_ranks}; it has to be at least 1")
    if topology.orphans:
        raise DataLost(
            f"{named(topology.orphans)}: no live database node holds a readable copy;"
            " start the lost nodes again, or restore the data"
        )
    if not topology.shards:
        raise ConfigurationError("the table has no shards: there is nothing to plan")
    shards = sorted(topology.shards, key=lambda shard: natural(shard.id))
    open_to = sorted((n for n in topology.node if eligible is None or n in eligible), key=natural)
    if not open_to:
        raise ConfigurationError(
            f"none of the {len(topology.nodes)} live database nodes can have a rank:"
            " no machine is known for any of them"
        )
    required = locality == Locality.REQUIRED
    if required:
        refuse_elsewhere(topology.locality)
        _refuse_unreachable(shards, frozenset(open_to))
    before = {part.node: part.rank for part in previous.ranks} if previous else {}
    chosen = choose_nodes(shards, open_to, max_ranks, keep=before, cover=required)
    ranks = keep_ranks(chosen, before)
    parts = _parts(shards, ranks, _spread(shards, ranks, locality, _node_of(previous)))
    return Plan(
        generation=generation,
        topology=topology.version,
        ranks=parts,
        notes=(
            *notes(shards, parts, locality, counted=topology.weights_exact),
            *measured(topology.locality, locality),
        ),
        own_copies=topology.locality.share if topology.locality else None,
    )


def moved(previous: Plan, plan: Plan) -> int:
    """How many shards of both plans are with another node in the second one."""
    before = _node_of(previous)
    return sum(
        before.get(shard, part.node) != part.node for part in plan.ranks for shard in part.shards
    )


def _refuse_unreachable(shards: Sequence[Shard], open_to: Collection[NodeId]) -> None:
    if split := [shard.id for shard in shards if shard.parts]:
        raise ConfigurationError(
            f"{named(split)}: no database node holds all of it since nodes came or left, so a part"
            " would be read remotely; set placement.locality to Preferred, or start the job anew"
        )
    remote = [shard for shard in shards if not any(owner in open_to for owner in shard.owners)]
    if remote:
        owners = sorted({owner for shard in remote for owner in shard.owners}, key=natural)
        raise ConfigurationError(
            f"{named([s.id for s in remote])}: the only copies are on {named_nodes(owners)}, where"
            " no trainer can run; let one run there, or set placement.locality to Preferred"
        )


def _node_of(previous: Plan | None) -> dict[ShardId, NodeId]:
    """The node that each shard was with."""
    if previous is None:
        return {}
    return {shard: part.node for part in previous.ranks for shard in part.shards}


def _spread(
    shards: Sequence[Shard],
    ranks: Sequence[NodeId],
    locality: str,
    before: Mapping[ShardId, NodeId],
) -> list[int]:
    """The rank of each shard; those with rows by weight, those without by number."""
    rank_of = {node: rank for rank, node in enumerate(ranks)}
    homes = [rank_of.get(before[s.id], NOWHERE) if s.id in before else NOWHERE for s in shards]
    choices = [
        _choices(shard, index, rank_of, locality, homes[index])
        for index, shard in enumerate(shards)
    ]
    at = [NOWHERE] * len(shards)
    for empty in (False, True):
        chosen = [i for i, shard in enumerate(shards) if (shard.weight == 0) is empty]
        if not chosen:
            continue
        found = spread(
            Items(
                weights=[shards[i].weight or 1 for i in chosen],
                choices=[choices[i] for i in chosen],
                bins=len(ranks),
            ),
            [homes[i] if homes[i] in choices[i] else NOWHERE for i in chosen] if before else None,
        )
        for i, rank in zip(chosen, found, strict=True):
            at[i] = rank
    return at


def _choices(
    shard: Shard, index: int, rank_of: Mapping[NodeId, int], locality: str, home: int
) -> tuple[int, ...]:
    """The ranks that may read `shard`: its holders' or, where those don't count, any.

    Of many ranks "any" is a few, each twice as far on as the one before (the fingers of Chord,
    SIGCOMM 2001): enough to balance, and the work stays in proportion to the shards.
    """
    if locality != Locality.IGNORED:
        owners = tuple(dict.fromkeys(rank_of[o] for o in shard.holders if o in rank_of))
        if owners:
            return owners
    bins = len(rank_of)
    steps = range(bins) if bins <= _ALL else [0, *(1 << i for i in range((bins - 1).bit_length()))]
    ranks = [(index + step) % bins for step in steps]
    return tuple(dict.fromkeys(ranks if home == NOWHERE else [*ranks, home]))


def _parts(
    shards: Sequence[Shard], ranks: Sequence[NodeId], at: Sequence[int]
) -> tuple[Assigned, ...]:
    mine: list[list[Shard]] = [[] for _ in ranks]
    for shard, rank in zip(shards, at, strict=True):
        mine[rank].append(shard)
    return tuple(
        Assigned(
            rank=rank,
            node=node,
            shards=tuple(shard.id for shard in part),
            weight=sum(shard.weight for shard in part),
            remote=tuple(shard.id for shard in part if node not in shard.owners),
        )
        for rank, (node, part) in enumerate(zip(ranks, mine, strict=True))
    )
