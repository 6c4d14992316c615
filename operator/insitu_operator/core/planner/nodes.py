"""Which database nodes get a rank, and which rank."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from insitu.errors import ConfigurationError
from insitu.topology import NodeId, Shard
from insitu_operator.core.planner.names import named

_PATIENCE = 50_000
"""Steps that the search for few nodes that own everything may take."""


def choose_nodes(
    shards: Sequence[Shard],
    nodes: Sequence[NodeId],
    limit: int | None,
    *,
    keep: Collection[NodeId],
    cover: bool,
) -> list[NodeId]:
    """Those of `nodes` that own a shard, or all if none does; `limit` of them at most.

    Fewer are chosen so that they own as much as they can together and overlap little, from those
    in `keep` on where that leads to a full cover. Greedy (Chvatal, Math. Oper. Res. 4, 1979),
    then a bounded exhaustive search, because the least hitting set is NP-hard.

    Raises:
        ConfigurationError: `cover` is asked for, and no `limit` nodes that own all were found.
    """
    owning = {owner for shard in shards for owner in shard.holders}
    holders = [node for node in nodes if node in owning] or list(nodes)
    if limit is None or len(holders) <= limit:
        return holders
    kept = [node for node in holders if node in keep][:limit]
    best = _extended(shards, holders, [], limit)
    for chosen in (_extended(shards, holders, kept, limit), best):
        if not _uncovered(shards, chosen, holders):
            return chosen
    found = _exhaustive(shards, holders, limit)
    if found is not None:
        return _extended(shards, holders, found, limit)
    if cover:
        raise ConfigurationError(_refusal(shards, holders, best, limit))
    return _extended(shards, holders, kept, limit)


def keep_ranks(nodes: Sequence[NodeId], before: Mapping[NodeId, int]) -> list[NodeId]:
    """`nodes` by rank. A node keeps its rank while there is such a rank; others fill the rest."""
    ranks: list[NodeId | None] = [None] * len(nodes)
    others = []
    for node in nodes:
        rank = before.get(node)
        if rank is not None and rank < len(ranks):
            ranks[rank] = node
        else:
            others.append(node)
    others.sort(key=lambda node: before.get(node, len(before)))
    waiting = iter(others)
    return [next(waiting) if node is None else node for node in ranks]


def _owners(shards: Sequence[Shard], holders: Sequence[NodeId]) -> list[tuple[Shard, list[int]]]:
    """Each shard with the places in `holders` of its owners; without those that have none."""
    place = {node: i for i, node in enumerate(holders)}
    found = ((shard, [place[o] for o in shard.owners if o in place]) for shard in shards)
    return [(shard, owners) for shard, owners in found if owners]


def _uncovered(
    shards: Sequence[Shard], chosen: Collection[NodeId], holders: Sequence[NodeId]
) -> list[Shard]:
    """What some of `holders` own, but none of `chosen`."""
    some, all_ = frozenset(chosen), frozenset(holders)
    return [s for s in shards if some.isdisjoint(s.owners) and not all_.isdisjoint(s.owners)]


def _extended(
    shards: Sequence[Shard], holders: Sequence[NodeId], start: Sequence[NodeId], limit: int
) -> list[NodeId]:
    """`start` and, one by one, the node that adds most: shards no other has, then a share of
    those that others have too. In the order of `holders`.
    """
    owned = _owners(shards, holders)
    shards_of: list[list[int]] = [[] for _ in holders]
    new = [0] * len(holders)
    share = [0.0] * len(holders)
    for index, (shard, owners) in enumerate(owned):
        for o in owners:
            shards_of[o].append(index)
            new[o] += 1
            share[o] += shard.weight
    times = [0] * len(owned)
    chosen: set[int] = set()

    def choose(node: int) -> None:
        chosen.add(node)
        for index in shards_of[node]:
            shard, owners = owned[index]
            times[index] += 1
            less = shard.weight / times[index] - shard.weight / (times[index] + 1)
            for o in owners:
                new[o] -= times[index] == 1
                share[o] -= less

    for node, name in enumerate(holders):
        if name in start:
            choose(node)
    while len(chosen) < limit:
        rest = (i for i in range(len(holders)) if i not in chosen)
        choose(max(rest, key=lambda i: (new[i], share[i], -i)))
    return [name for i, name in enumerate(holders) if i in chosen]


def _exhaustive(
    shards: Sequence[Shard], holders: Sequence[NodeId], limit: int
) -> list[NodeId] | None:
    """`limit` nodes or fewer that own everything, by trying each owner of a shard not yet owned.

    None if there are none, or none were found in time.
    """
    sets = sorted({frozenset(owners) for _, owners in _owners(shards, holders)}, key=sorted)
    sets.sort(key=len)
    open_: list[frozenset[int]] = [frozenset()]
    seen: set[frozenset[int]] = set()
    for _ in range(_PATIENCE):
        if not open_:
            return None
        chosen = open_.pop()
        missing = next((owners for owners in sets if chosen.isdisjoint(owners)), None)
        if missing is None:
            return [holders[i] for i in sorted(chosen)]
        if len(chosen) < limit:
            following = (chosen | {owner} for owner in sorted(missing, reverse=True))
            fresh = [more for more in following if more not in seen]
            seen.update(fresh)
            open_.extend(fresh)
    return None


def _refusal(
    shards: Sequence[Shard], holders: Sequence[NodeId], best: Sequence[NodeId], limit: int
) -> str:
    remote = [shard.id for shard in _uncovered(shards, best, holders)]
    enough = next(
        size
        for size in range(limit + 1, len(holders) + 1)
        if not _uncovered(shards, _extended(shards, holders, [], size), holders)
    )
    return (
        f"placement.maxRanks is {limit}, and no choice of {limit} of the {len(holders)} database"
        f" nodes was found that owns every shard: {named(remote)} would be remote. Allow {enough}"
        " ranks, or set placement.locality to Preferred"
    )
