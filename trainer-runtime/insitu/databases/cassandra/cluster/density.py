"""How many rows there are about where on the ring, from what the servers estimate. Pure."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from insitu.databases.cassandra.ranges import FIRST, LAST, TokenRange

_SIGMAS = 5.0
_TOLERATED = 0.05


@dataclass(frozen=True, slots=True)
class Estimate:
    """One row of a node's own estimates: partitions in a range that it is the primary of."""

    tokens: TokenRange
    partitions: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Some rows in token order: how many, in how much of the ring. `cut_short` tells that they are
    all of one partition, which has more.
    """

    tokens: TokenRange
    rows: int
    cut_short: bool = False


def estimates(start: str, end: str, partitions: int) -> list[Estimate]:
    """From the columns of one row. A range that wraps is two, by width."""
    first, last = int(start), int(end)
    if first < last:
        return [Estimate(TokenRange(first, last), partitions)]
    parts = [TokenRange(a, b) for a, b in ((first, LAST), (FIRST, last)) if a < b]
    width = sum(part.width for part in parts)
    return [Estimate(part, round(partitions * part.width / width)) for part in parts]


def believable(by_node: Iterable[Sequence[Estimate]]) -> list[Estimate]:
    """All estimates, or none where the nodes contradict each other.

    Murmur3 spreads partitions by chance, so a node's number follows from the width of its ranges
    but for what chance allows. A number that does not was estimated before rows came or went, or
    before compaction, by a node that has not looked since.
    """
    merged = [list(node) for node in by_node]
    partitions = sum(e.partitions for node in merged for e in node)
    width = sum(e.tokens.width for node in merged for e in node)
    if not partitions:
        return []
    for node in merged:
        expected = partitions * sum(e.tokens.width for e in node) / width
        allowed = _SIGMAS * math.sqrt(expected) + _TOLERATED * expected
        if not node or abs(sum(e.partitions for e in node) - expected) > allowed:
            return []
    return [estimate for node in merged for estimate in node]


class Density:
    """Rows in any range: estimated where there are estimates, their mean elsewhere.

    `probes` tell the total where partitions are not rows, or where there are no estimates.
    """

    def __init__(self, known: Iterable[Estimate], probes: Sequence[Probe] = ()) -> None:
        self._known = sorted(known, key=lambda estimate: estimate.tokens)
        self._starts = [estimate.tokens.start for estimate in self._known]
        covered = sum(estimate.tokens.width for estimate in self._known)
        partitions = sum(estimate.partitions for estimate in self._known)
        self._elsewhere = partitions / covered if covered else 0.0
        self._factor = 1.0
        self.too_few = any(probe.cut_short for probe in probes)
        """There are more rows than is estimated: partitions have more than were looked at."""
        if probes:
            rows = sum(p.rows for p in probes) / sum(p.tokens.width for p in probes)
            if self._elsewhere:
                self._factor = rows / self._elsewhere
            else:
                self._elsewhere = rows

    def rows(self, tokens: TokenRange) -> float:
        """An estimate; of the whole ring it is 0 where nothing is known of any rows."""
        found, uncovered = 0.0, tokens.width
        # Estimates don't overlap, so at most one begins before the range and reaches into it.
        first = max(bisect.bisect_right(self._starts, tokens.start) - 1, 0)
        last = bisect.bisect_left(self._starts, tokens.end)
        for estimate in self._known[first:last]:
            if common := estimate.tokens.common(tokens):
                found += estimate.partitions * common.width / estimate.tokens.width
                uncovered -= common.width
        return (found + max(uncovered, 0) * self._elsewhere) * self._factor
