"""The shards of a table: cut from the ring once, and found again on a later ring. Pure.

The cut depends on the ring alone. Murmur3 spreads keys evenly, so ranges of one width are about
equal in bytes; and whoever reads the same ring gets the same shards, whatever the servers'
estimates said at that moment.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Sequence

from insitu.databases.cassandra.cluster.ring import Segment
from insitu.databases.cassandra.ranges import RING, TokenRange, format_range, parse_range
from insitu.topology import NodeId, Shard, ShardId, Topology

SHARDS_A_NODE = 16
"""A node's shards have about this part of its share of the ring, or less, each."""


def cut(segments: Sequence[Segment], nodes: int) -> list[Segment]:
    """Segments that are small enough for `nodes` to share them evenly, in ascending order."""
    widest = RING.width / (nodes * SHARDS_A_NODE)
    return [
        Segment(part, segment.replicas)
        for segment in segments
        for part in _parts(segment.tokens, math.ceil(segment.tokens.width / widest))
    ]


def _parts(tokens: TokenRange, count: int) -> list[TokenRange]:
    return tokens.cut(tokens.start + tokens.width * part // count for part in range(1, count))


def shards(
    pieces: Iterable[Segment],
    live: Callable[[NodeId], bool],
    rows: Callable[[TokenRange], float],
    moving: Callable[[Segment], bool],
) -> tuple[Shard, ...]:
    """One for each piece: its live replicas are its owners."""
    whole = _Whole()
    return tuple(
        Shard(
            id=format_range(piece.tokens),
            owners=tuple(node for node in piece.replicas if live(node)),
            weight=whole(rows(piece.tokens)),
            moving=moving(piece),
        )
        for piece in pieces
    )


class _Whole:
    """Turns numbers of rows into whole ones whose sum stays that of the numbers: many shards with
    less than half a row each are no empty table.
    """

    def __init__(self) -> None:
        self._exact = 0.0
        self._given = 0

    def __call__(self, rows: float) -> int:
        self._exact += rows
        found = round(self._exact) - self._given
        self._given += found
        return found


def refit(topology: Topology, wanted: Collection[ShardId]) -> Topology:
    """The same reading, in the shards that a job began with, in the order of the ring.

    A shard that no live node holds all of has `parts`: its pieces by owners, in ascending order.

    Raises:
        ConfigurationError: an id in `wanted` is no token range.
    """
    if {shard.id for shard in topology.shards} == set(wanted):
        return topology
    there = [(parse_range(shard.id), shard) for shard in topology.shards]
    ends = [tokens.end for tokens, _ in there]
    found = []
    whole = _Whole()
    for tokens, name in sorted((parse_range(name), name) for name in wanted):
        first = bisect.bisect_right(ends, tokens.start)
        last = bisect.bisect_left(ends, tokens.end)
        found.append(_assembled(name, tokens, there[first : last + 1], whole))
    return dataclasses.replace(topology, shards=tuple(found))


def _assembled(
    name: ShardId,
    tokens: TokenRange,
    there: Sequence[tuple[TokenRange, Shard]],
    rounded: Callable[[float], int],
) -> Shard:
    pieces: list[tuple[TokenRange, tuple[NodeId, ...], float]] = []
    for other, shard in there:
        common = tokens.common(other)
        if common is None:
            continue
        rows = shard.weight * common.width / other.width
        if pieces and pieces[-1][1] == shard.owners:
            before = pieces.pop()
            common = TokenRange(before[0].start, common.end)
            rows += before[2]
        pieces.append((common, shard.owners, rows))
    moving = any(shard.moving for _, shard in there)
    whole = Shard(
        id=name,
        owners=tuple(
            owner
            for owner in (pieces[0][1] if pieces else ())
            if all(owner in owners for _, owners, _ in pieces)
        ),
        weight=rounded(sum(rows for _, _, rows in pieces)),
        moving=moving,
    )
    if whole.owners or len(pieces) < 2:
        return whole
    part_of = _Whole()
    parts = tuple(
        Shard(format_range(common), owners, part_of(rows)) for common, owners, rows in pieces
    )
    return dataclasses.replace(whole, parts=parts)
