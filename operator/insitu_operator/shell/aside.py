"""Pure work that may take long, beside the event loop: the lease has to be renewed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from insitu_operator.core.observed import Reading
from insitu_operator.core.plan import Plan

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 4096
"""Shards and ranks together, up to which each step of a pass takes less than 50 ms."""


async def aside(size: int, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns or raises; in a thread when `size` is large.

    Its arguments must be values that nobody changes.
    """
    if size <= LARGE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def size_of(one: Plan | Reading | None) -> int:
    """Its shards, and its ranks or nodes."""
    match one:
        case None:
            return 0
        case Plan(ranks=ranks):
            return sum(len(part.shards) + 1 for part in ranks)
        case Reading(topology=topology):
            return len(topology.nodes) + len(topology.shards)
