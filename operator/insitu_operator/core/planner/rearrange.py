"""Makes one bin lighter by placing the items of a few bins anew, all at once.

Where items are few and heavy, no single chain may fit though another arrangement does. This is
large neighbourhood search (Shaw, CP 1998): a handful of bins is freed, and a depth-first search
with a memory of dead ends fills them again below a limit.
"""

from __future__ import annotations

from collections.abc import Sequence

from insitu_operator.core.planner.placement import Placement

_BINS = 8
"""Bins that are freed at once, at most."""

_ITEMS = 96
"""Items that are placed anew at once, at most: with more, chains are the better search."""

_STEPS = 4000
"""Items that one search may try to place before it gives up."""


def rearranged(placed: Placement, source: int, limit: int) -> bool:
    """Brings `source` to `limit` at most, with some of its neighbours.

    False, with nothing moved, if no arrangement was found.
    """
    group = [source]
    while len(group) < _BINS:
        following = _lightest_neighbour(placed, group)
        if following is None:
            break
        group.append(following)
        if sum(placed.load[b] for b in group) > limit * len(group):
            continue
        items = [item for b in group for item in placed.inside[b]]
        if len(items) > _ITEMS:
            break
        found = _fill(placed, items, group, limit)
        if found is not None:
            for item, to in zip(items, found, strict=True):
                if placed.at[item] != to:
                    placed.put(item, to)
            return True
    return False


def _lightest_neighbour(placed: Placement, group: Sequence[int]) -> int | None:
    """The lightest bin outside of `group` that something inside could go to."""
    placed.effort += sum(len(placed.inside[b]) for b in group)
    near = {
        to
        for b in group
        for item in placed.inside[b]
        for to in placed.items.choices[item]
        if to not in group
    }
    return min(near, key=lambda b: (placed.load[b], b), default=None)


def _fill(
    placed: Placement, items: Sequence[int], group: Sequence[int], limit: int
) -> list[int] | None:
    """A bin of `group` for each of `items`, with no bin above `limit`. None if none was found.

    Heaviest item first; each at home if it can, else where least is.
    """
    weights, homes = placed.items.weights, placed.homes
    allowed = {item: [b for b in placed.items.choices[item] if b in group] for item in items}
    order = sorted(items, key=lambda i: (len(allowed[i]) > 1, -weights[i], len(allowed[i]), i))
    load = dict.fromkeys(group, 0)
    taken: list[int] = []
    dead: set[tuple[int, ...]] = set()

    def options() -> list[int]:
        item = order[len(taken)]
        fits = [b for b in allowed[item] if load[b] + weights[item] <= limit]
        return sorted(fits, key=lambda b: (b != homes[item], load[b], b), reverse=True)

    untried = [options()]
    for _ in range(_STEPS):
        placed.effort += len(group)
        if not untried[-1]:
            dead.add((len(taken), *load.values()))
            untried.pop()
            if not untried:
                return None
            load[taken.pop()] -= weights[order[len(taken)]]
            continue
        to = untried[-1].pop()
        load[to] += weights[order[len(taken)]]
        taken.append(to)
        if len(taken) == len(order):
            where = dict(zip(order, taken, strict=True))
            return [where[item] for item in items]
        if (len(taken), *load.values()) in dead:
            load[taken.pop()] -= weights[order[len(taken)]]
        else:
            untried.append(options())
    return None
