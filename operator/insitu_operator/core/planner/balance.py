"""Spreads weighted items over bins, each item limited to some of the bins.

In the field's words: makespan on identical machines with assignment restrictions
(P | M_j | C_max), strongly NP-hard with weights and polynomial without. Bins are what the
planner calls ranks, items are its shards, and the `choices` of an item are the shard's owners.

1. A first placement puts the heaviest items first, each where least is (Graham, *Bounds on
   multiprocessing timing anomalies*, SIAM J. Appl. Math. 17, 1969).
2. The heaviest bin is bisected downwards. Overfull bins are relieved by chains of moves
   (chain.py) and, where weights leave no chain, by searching a few bins at once
   (rearrange.py). A bin that can't be relieved proves a bound: what is in the bins it can reach
   can be nowhere else.
3. Below the heaviest bin, one pass of single moves evens out the rest.
4. Where there is a placement to keep, it is mended within the balance found so, not replaced.

With equal weights this is the load-balancing semi-matching of Harvey, Ladner, Lovász and Tamir
(J. Algorithms 59, 2006), and exact in both senses: no placement has a lighter heaviest bin, and
none within the limit moves fewer items. A search looks at each bin's items once, and a bin needs
as many searches as items leave it.
"""

from __future__ import annotations

from collections.abc import Sequence

from insitu_operator.core.planner.chain import cheapest_chain, forced_chain
from insitu_operator.core.planner.placement import NOWHERE, Items, Placement
from insitu_operator.core.planner.rearrange import rearranged

TOLERANCE_PERCENT = 1
"""How far above the best balance a kept placement may stay, so that items need not move."""

_PRECISION = 1000
"""Unequal weights are bisected until the heaviest bin is known to one part in this many."""

_EFFORT = 200_000
"""Items that all searching in one placement may look at, about half a second. Counted, not timed,
so that plans repeat.
"""


def spread(items: Items, homes: Sequence[int] | None = None) -> list[int]:
    """The bin of each item, so that the heaviest bin is as light as possible.

    Args:
        items: what to spread.
        homes: where each item is now (`NOWHERE`: nowhere yet, or where it can't stay). The
            heaviest bin may then be up to `TOLERANCE_PERCENT` heavier than the bound proven
            below it or, where that is out of reach, than the lightest found; within that, as few
            items as possible leave their home.
    """
    best, proven = _balanced(items)
    if homes is None:
        return best.at
    kept = _kept(items, homes)
    limit = _tolerated(proven)
    if max(best.load) > limit:
        limit = _tolerated(max(best.load))
    return kept.at if _relieve_all(kept, limit) is None else best.at


def _tolerated(heaviest: int) -> int:
    return heaviest * (100 + TOLERANCE_PERCENT) // 100


def _balanced(items: Items) -> tuple[Placement, int]:
    """As even as it gets, whatever is where now; and a load that the heaviest bin has at least."""
    placed = Placement(items, [NOWHERE] * len(items.weights))
    choices, weights, unit = items.choices, items.weights, items.unit
    for item in sorted(
        range(len(weights)), key=lambda i: (len(choices[i]) > 1, -weights[i], len(choices[i]), i)
    ):
        placed.put_lightest(item)
    proven = max(_share(sum(weights), items.bins, unit), max(weights))
    while True:
        before = max(placed.load)
        proven = _bisect(placed, proven)
        if before - max(placed.load) <= before // _PRECISION:
            break
    _level(placed)
    return placed, proven


def _level(placed: Placement) -> None:
    """Evens out what lies below the heaviest bin, by moves that make the heavier of two lighter."""
    load, choices, weights = placed.load, placed.items.choices, placed.items.weights
    for item, here in enumerate(tuple(placed.at)):
        lightest = min(choices[item], key=load.__getitem__)
        if load[lightest] + weights[item] < load[here]:
            placed.put(item, lightest)


def _bisect(placed: Placement, proven: int) -> int:
    """Lowers the heaviest bin towards `proven`, a bound below it. Returns the bound as raised."""
    unit = placed.items.unit
    low, high = proven, max(placed.load)
    while high - low >= (unit if placed.items.equal else max(unit, low // _PRECISION)):
        limit = (low + high) // 2 // unit * unit
        stuck = _relieve_all(placed, limit)
        high = max(placed.load)
        if stuck is not None:
            proven = max(proven, _bound(placed, stuck))
            low = max(limit + unit, proven)
    return proven


def _kept(items: Items, homes: Sequence[int]) -> Placement:
    """Everything at home, and what has no home where least is."""
    placed = Placement(items, homes)
    homeless = []
    for item, home in enumerate(homes):
        if home == NOWHERE:
            homeless.append(item)
        else:
            placed.put(item, home)
    for item in sorted(homeless, key=lambda i: (-items.weights[i], i)):
        placed.put_lightest(item)
    return placed


def _relieve_all(placed: Placement, limit: int) -> int | None:
    """Brings every bin down to `limit`, the heaviest first. Stops at the first it can't, and
    returns that one. No bin gets heavier by it than `limit`, or than it was.
    """
    load = placed.load
    for source in sorted(range(placed.items.bins), key=lambda b: (-load[b], b)):
        while load[source] > limit:
            if not _relieve(placed, source, limit):
                return source
    return None


def _relieve(placed: Placement, source: int, limit: int) -> bool:
    """Makes an overfull bin lighter. With equal weights, False proves that it can't be."""
    if cheapest_chain(placed, source, limit):
        return True
    if placed.items.equal or placed.effort > _EFFORT:
        return False
    return forced_chain(placed, source, limit) or rearranged(placed, source, limit)


def _share(weight: int, bins: int, unit: int) -> int:
    """What the heaviest of `bins` holds at least, as loads are multiples of `unit`."""
    return -(-weight // (unit * bins)) * unit


def _bound(placed: Placement, source: int) -> int:
    """What the heaviest bin holds at least, because of the bins that `source` can reach."""
    closed = placed.reachable(source)
    return _share(sum(placed.load[b] for b in closed), len(closed), placed.items.unit)
