"""Makes one bin lighter by the cheapest chain of moves: each bin on it passes an item on.

Successive shortest paths with node potentials, one augmentation per call (Ahuja, Magnanti,
Orlin, *Network Flows*, 1993, section 9.7), stopped at the first bin with room. Leaving home
costs one, coming home gains one. With equal weights a chain is found whenever there is one, and
what has left home in the end is the least that could. With unequal weights a bin may pass on
only what makes room for what it gets, so each bin is tried with one item only, and a failure
proves nothing (an ejection chain: Glover, Discrete Appl. Math. 65, 1996).
"""

from __future__ import annotations

from heapq import heappop, heappush

from insitu_operator.core.planner.placement import NOWHERE, Placement

_PATIENCE = 32
"""Bins that a search looks into before it gives up, where weights are unequal."""

_HEAVY = 8
"""Items of a bin, the heaviest, that are tried to be forced out of it."""


_Reached = tuple[int, bool, int, int, int, int, int]
"""How a search came to a bin: cost, whether that bin is full, moves, misfit, bin, item, and the
bin before. Searches go by these in this order: the cheapest first, then one that ends the search,
then the fewest moves, then the item that fits best.
"""


def cheapest_chain(placed: Placement, source: int, limit: int) -> bool:
    """Moves items along one chain out of the overfull bin `source`, if one is found.

    No bin gets heavier than `limit`, or than it was.
    """
    weights, choices, homes = placed.items.weights, placed.items.choices, placed.homes
    load, potential = placed.load, placed.potential
    excess = load[source] - limit
    patience = placed.items.bins if placed.items.equal else _PATIENCE
    reached: _Reached = (0, True, 0, 0, source, NOWHERE, NOWHERE)
    done: dict[int, _Reached] = {}
    best = {source: reached}
    heap: list[_Reached] = []
    while reached[1]:
        cost, _, moves, _, here, received, _ = reached
        done[here] = reached
        if len(done) > patience:
            return False
        need = 0
        if here != source:
            need = load[here] + weights[received] - max(limit, load[here])
        placed.effort += len(placed.inside[here])
        for item in placed.inside[here]:
            weight = weights[item]
            if weight < need:
                continue
            home = homes[item]
            away = home not in (here, NOWHERE)
            misfit = weight
            if here == source:
                misfit = weight - excess if weight >= excess else 2 * excess - weight
            for to in choices[item]:
                if to in done:
                    continue
                step = (to != home and home != NOWHERE) - away + potential[here] - potential[to]
                full = load[to] + weight > limit
                found = (cost + max(step, 0), full, moves + 1, misfit, to, item, here)
                if to not in best or found < best[to]:
                    best[to] = found
                    heappush(heap, found)
        while heap and heap[0][4] in done:
            heappop(heap)
        if not heap:
            return False
        reached = heappop(heap)
    end = reached[0]
    for cost, _, _, _, visited, _, _ in done.values():
        potential[visited] += cost - end
    while reached[4] != source:
        _, _, _, _, here, received, before = reached
        placed.put(received, here)
        reached = done[before]
    return True


def forced_chain(placed: Placement, source: int, limit: int) -> bool:
    """Moves one heavy item out of `source` though there is no room, then relieves that bin by as
    many chains as it takes. For unequal weights. False, with nothing moved, if that is in vain.
    """
    weights, choices = placed.items.weights, placed.items.choices
    heavy = sorted(placed.inside[source], key=lambda i: (-weights[i], i))
    for item in heavy[:_HEAVY]:
        for to in choices[item]:
            if to == source or weights[item] > limit:
                continue
            mark = placed.mark
            placed.put(item, to)
            while placed.load[to] > limit and cheapest_chain(placed, to, limit):
                pass
            if placed.load[to] <= limit:
                return True
            placed.undo(mark)
    return False
