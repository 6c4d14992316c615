"""Shards and nodes in sentences, and in the order a reader expects."""

from __future__ import annotations

import re
from collections.abc import Sequence

from insitu.contract.ranges import format_ranges
from insitu.topology import NodeId, ShardId

_SHOWN = 8
_DIGITS = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """A sort key under which `node-2` comes before `node-10`."""
    parts = _DIGITS.split(name)
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), name


def named(shards: Sequence[ShardId]) -> str:
    """`shard 5`, `4 shards (0-2, 7)`; only the first few of many."""
    if len(shards) == 1:
        return f"shard {shards[0]}"
    if all(shard.isascii() and shard.isdecimal() for shard in shards):
        parts = format_ranges(int(shard) for shard in shards).split(",")
    else:
        parts = sorted(shards, key=natural)
    return f"{len(shards)} shards ({_few(parts)})"


def named_nodes(nodes: Sequence[NodeId]) -> str:
    """`a`, `a and b`, `a, b and c`; only the first few of many."""
    if len(nodes) > _SHOWN:
        return _few(nodes)
    *most, last = nodes
    return f"{', '.join(most)} and {last}" if most else last


def _few(parts: Sequence[str]) -> str:
    more = f", ... {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more
