"""Says in sentences what about a plan a user may wonder at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from insitu.api import Locality
from insitu.topology import NodeId, Shard, ShardId
from insitu_operator.core.plan import Assigned
from insitu_operator.core.planner.names import named, named_nodes, natural

_EVEN = 1.01
"""An imbalance up to this is not worth a word."""

_NEARLY = 0.99


def notes(
    shards: Sequence[Shard], ranks: Sequence[Assigned], locality: str, *, counted: bool
) -> tuple[str, ...]:
    """Why shards are remote, why ranks have no rows, and why they are not even.

    `counted` tells that the weights of the shards are no estimates.
    """
    return (
        *_remote(shards, ranks, locality),
        *_without_rows(shards, ranks, counted=counted),
        *_uneven(shards, ranks, locality),
    )


def _remote(shards: Sequence[Shard], ranks: Sequence[Assigned], locality: str) -> Iterable[str]:
    ids = {shard for part in ranks for shard in part.remote}
    if not ids:
        return
    remote = [shard for shard in shards if shard.id in ids]
    where = f"{named([s.id for s in remote])}, {_share(remote, shards)}"
    if locality == Locality.IGNORED:
        yield f"{where}, read from another database node: locality is Ignored"
        return
    if split := [shard for shard in remote if shard.parts]:
        yield (
            f"{named([s.id for s in split])}, {_share(split, shards)}, read in parts from several"
            " database nodes: nodes came or left since the job began, and no one holds all of it"
        )
    if not (whole := [shard for shard in remote if not shard.parts]):
        return
    owners = sorted({owner for shard in whole for owner in shard.owners}, key=natural)
    yield (
        f"{named([s.id for s in whole])}, {_share(whole, shards)}, read from another database"
        f" node: the only copies are on {named_nodes(owners)}, which"
        f" {'has' if len(owners) == 1 else 'have'} no rank"
    )


def _without_rows(
    shards: Sequence[Shard], ranks: Sequence[Assigned], *, counted: bool
) -> Iterable[str]:
    idle = [part.node for part in ranks if part.weight == 0]
    full = [shard for shard in shards if shard.weight]
    one = len(idle) == 1
    whose = f"{'the rank' if one else 'the ranks'} of {named_nodes(idle)}" if idle else ""
    if not full and counted:
        yield "the table is empty"
    elif not full:
        yield "how many rows the shards have is not known yet: they are shared out by their number"
    elif idle and not counted:
        yield f"no rows are estimated for {whose}: there may be some"
    elif idle:
        if len(full) < len(ranks):
            why = f"only {len(full)} of {len(shards)} shards have any"
        else:
            why = "every shard there is empty, or with another rank"
        yield f"no rows for {whose}: {why}"


def _uneven(shards: Sequence[Shard], ranks: Sequence[Assigned], locality: str) -> Iterable[str]:
    total = sum(part.weight for part in ranks)
    if not total:
        return
    heaviest = max(ranks, key=lambda part: part.weight)
    times = heaviest.weight * len(ranks) / total
    if times <= _EVEN:
        return
    result = f"{times:.2f} times the mean"
    mine = frozenset(heaviest.shards)
    largest = max((s for s in shards if s.id in mine), key=lambda s: s.weight)
    if largest.weight >= _NEARLY * heaviest.weight:
        yield (
            f"shard {largest.id} alone has {_share([largest], shards)} and can't be divided:"
            f" the rank of {heaviest.node} has {result}"
        )
        return
    options = _options(shards, ranks, locality)
    for group in ({heaviest.node}, _reachable(heaviest.node, ranks, options)):
        only = [s for s in shards if group.issuperset(options[s.id])]
        load = sum(shard.weight for shard in only) / len(group)
        if len(group) < len(ranks) and load >= _NEARLY * heaviest.weight:
            names = named_nodes(sorted(group, key=natural))
            one = len(group) == 1
            yield (
                f"{names} {'holds' if one else 'hold'} the only {'copy' if one else 'copies'} of"
                f" {_share(only, shards)}: {'its rank has' if one else 'their ranks have'} {result}"
            )
            return
    full = sum(1 for shard in shards if shard.weight)
    yield (
        f"no way was found to share {full} shards of these sizes over {len(ranks)} ranks more"
        f" evenly by over 1 %: the rank of {heaviest.node} has {result}"
    )


def _options(
    shards: Sequence[Shard], ranks: Sequence[Assigned], locality: str
) -> Mapping[ShardId, Collection[NodeId]]:
    """The nodes whose rank could have each shard."""
    every = frozenset(part.node for part in ranks)
    if locality == Locality.IGNORED:
        return {shard.id: every for shard in shards}
    return {shard.id: every.intersection(shard.holders) or every for shard in shards}


def _reachable(
    start: NodeId, ranks: Sequence[Assigned], options: Mapping[ShardId, Collection[NodeId]]
) -> set[NodeId]:
    """The nodes that shards of `start` could go to, shards of those could go to, and so on."""
    inside = {part.node: part.shards for part in ranks}
    seen = {start}
    front = [start]
    while front:
        for shard in inside[front.pop()]:
            for node in options[shard]:
                if node not in seen:
                    seen.add(node)
                    front.append(node)
    return seen


def _share(some: Sequence[Shard], shards: Sequence[Shard]) -> str:
    """`12 % of the rows`."""
    percent = 100 * sum(s.weight for s in some) / (sum(s.weight for s in shards) or 1)
    return f"{percent:.0f} % of the rows" if percent >= 1 else "less than 1 % of the rows"
