"""Items in bins, while they are being moved. The working state of balance.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

NOWHERE = -1
"""The home of an item that has none, and the place of one that is not placed yet."""


@dataclass(frozen=True)
class Items:
    """What is to be spread: `weights[i]` > 0, and `choices[i]`, the bins item `i` may be in.

    Every item has at least one choice; where two are as good, the earlier one is taken.
    """

    weights: Sequence[int]
    choices: Sequence[Sequence[int]]
    bins: int

    @cached_property
    def unit(self) -> int:
        """The greatest common divisor of all weights: loads only come in multiples of it."""
        return math.gcd(*self.weights)

    @cached_property
    def equal(self) -> bool:
        return min(self.weights) == max(self.weights)


class Placement:
    """Which item is in which bin, with each bin's load kept beside it.

    `homes[i]` is where item `i` came from, one of its choices or `NOWHERE`. `potential` belongs
    to the chain search (chain.py); `effort` counts the items that searches have looked at.
    """

    def __init__(self, items: Items, homes: Sequence[int]) -> None:
        self.items = items
        self.homes = homes
        self.at = [NOWHERE] * len(items.weights)
        self.load = [0] * items.bins
        # A dict is a set that keeps its order: plans must not depend on hashes.
        self.inside: list[dict[int, None]] = [{} for _ in range(items.bins)]
        self.potential = [0] * items.bins
        self.effort = 0
        self._moves: list[tuple[int, int]] = []

    def put(self, item: int, to: int) -> None:
        """Moves `item` into the bin `to` from wherever it is."""
        weight = self.items.weights[item]
        old = self.at[item]
        self._moves.append((item, old))
        if old != NOWHERE:
            del self.inside[old][item]
            self.load[old] -= weight
        self.at[item] = to
        self.inside[to][item] = None
        self.load[to] += weight

    def put_lightest(self, item: int) -> None:
        """Moves `item` to the lightest bin it may be in."""
        self.put(item, min(self.items.choices[item], key=self.load.__getitem__))

    @property
    def mark(self) -> int:
        """This moment, for `undo`."""
        return len(self._moves)

    def undo(self, mark: int) -> None:
        """Takes back every move since then."""
        back = self._moves[mark:]
        for item, old in reversed(back):
            self.put(item, old)
        del self._moves[mark:]

    def reachable(self, start: int) -> set[int]:
        """Every bin that something in `start` could get to, over any number of bins.

        Closed: what is in these bins can be in no other.
        """
        seen = {start}
        front = [start]
        while front:
            for item in self.inside[front.pop()]:
                for to in self.items.choices[item]:
                    if to not in seen:
                        seen.add(to)
                        front.append(to)
        return seen
