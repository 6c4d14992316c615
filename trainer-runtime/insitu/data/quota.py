"""How many rows each rank contributes to a step: pure, and the same on every rank.

Rows are shared in proportion to what each rank has left, by largest remainder (Hamilton's
method), so that ranks of very different sizes reach the end on about the same step, and a step
has exactly the asked number of rows however many ranks there are.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple


class Remaining(NamedTuple):
    """What a rank has left: 0 rows means that it ran dry.

    Where `exact` is false `rows` is an estimate, at least 1, and the rank may have more or less.
    """

    rows: int
    exact: bool


def quotas(remaining: Sequence[Remaining], batch: int) -> tuple[int, ...]:
    """Rows each rank is asked for in a step of `batch` rows, in the order of `remaining`.

    The sum is exactly `min(batch, all rows left)` where every rank is exact. A rank that is not
    dry but only estimated may be asked for more than its estimate, so with one of them the sum is
    exactly `batch`; it is asked for at least 1 whenever `batch` allows it, so that a low
    estimate can't starve it. An exact rank is never asked for more than it has.
    """
    if batch < 0 or any(rows < 0 for rows, _ in remaining):
        raise ValueError(f"negative rows: batch {batch}, remaining {list(remaining)}")
    estimated = [rank for rank, (rows, exact) in enumerate(remaining) if rows and not exact]
    rows_left = [rows for rows, _ in remaining]
    if batch <= sum(rows_left):
        shares = _largest_remainder(rows_left, batch)
    else:
        shares = rows_left
        surplus = batch - sum(rows for rows, exact in remaining if exact)
        extra = _largest_remainder([rows_left[rank] for rank in estimated], surplus)
        for rank, rows in zip(estimated, extra, strict=True):
            shares[rank] = rows
    return tuple(_at_least_one(shares, [rank for rank in estimated if not shares[rank]]))


def _largest_remainder(weights: Sequence[int], seats: int) -> list[int]:
    """`seats` in proportion to `weights`, each share within 1 of its ideal; ties to the left."""
    total = sum(weights)
    if not total:
        return [0] * len(weights)
    shares = [seats * weight // total for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda i: (-(seats * weights[i] % total), -weights[i], i)
    )
    for i in by_remainder[: seats - sum(shares)]:
        shares[i] += 1
    return shares


def _at_least_one(shares: list[int], starved: list[int]) -> list[int]:
    """`shares` with one row each for the `starved`, taken from whoever has the most."""
    if not starved:
        return shares
    richest = [(-rows, rank) for rank, rows in enumerate(shares) if rows > 1]
    heapq.heapify(richest)
    for rank in starved:
        if not richest:
            break
        rows, donor = heapq.heappop(richest)
        shares[donor] -= 1
        shares[rank] = 1
        if shares[donor] > 1:
            heapq.heappush(richest, (rows + 1, donor))
    return shares
