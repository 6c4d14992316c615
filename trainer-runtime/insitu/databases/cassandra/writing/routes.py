"""Which node coordinates the insert of a row: one that holds it."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Sequence

from insitu.databases.cassandra.cluster.ring import Segment
from insitu.topology import NodeId


class Routes:
    """Replicas by token; those that are `live`, and any live node where none of them is."""

    def __init__(self, ring: Sequence[Segment], live: Collection[NodeId]) -> None:
        everyone = tuple(sorted(live))
        self._ends = [segment.tokens.end for segment in ring]
        self._replicas = [
            tuple(node for node in segment.replicas if node in live) or everyone for segment in ring
        ] or [everyone]

    def replicas(self, token: int) -> tuple[NodeId, ...]:
        """Where to try, in this order."""
        return self._replicas[min(bisect.bisect_left(self._ends, token), len(self._replicas) - 1)]
