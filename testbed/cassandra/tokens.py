"""Where the nodes of a new cluster stand on the ring. Pure."""

from __future__ import annotations

import random

_RING = 1 << 64
_LEAST = -(1 << 63)


def tokens(nodes: int, vnodes: int) -> list[list[int]]:
    """For each node its tokens, ascending; the same numbers give the same ring.

    Round by round every node takes one slot, in another order each time, and stands somewhere in
    its middle: as uneven as Cassandra's own allocator makes it, not as even as a ruler.
    """
    shuffled = random.Random(f"{nodes} {vnodes}")
    width = _RING // (nodes * vnodes)
    owned: list[list[int]] = [[] for _ in range(nodes)]
    for turn in range(vnodes):
        for place, node in enumerate(shuffled.sample(range(nodes), nodes)):
            middle = (turn * nodes + place) * width + width // 2
            jitter = shuffled.randint(-width // 4, width // 4)
            owned[node].append(_LEAST + middle + jitter)
    return owned


def later_tokens(number: int, vnodes: int) -> list[int]:
    """The tokens of a node that joins later as node `number`."""
    anywhere = random.Random(f"later {number} {vnodes}")
    return sorted(anywhere.randrange(_LEAST + 1, -_LEAST) for _ in range(vnodes))
