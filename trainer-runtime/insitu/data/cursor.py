"""How much of an epoch is already part of the parameters.

A cursor is a value: small, JSON, the same on every rank, and independent of how many ranks there
are, so any later set of ranks can go on from it. It is committed together with the parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from insitu.data.order import Order
from insitu.databases import Mark
from insitu.topology import ShardId


class Block(NamedTuple):
    """The block that a shard's next row is in, by the place of its first row.

    Once some of it is `taken`, it also has the place of its `last` row and its length in `rows`.
    """

    first: Mark
    last: Mark | None = None
    rows: int = 0
    taken: int = 0


class Taken(NamedTuple):
    """One rank's use of one shard in one step: `rows` more; `finished` if those were the last.

    `block` tells where the shard goes on, where the database knows that but by counting.
    """

    shard: ShardId
    rows: int
    finished: bool
    block: Block | None = None


@dataclass(frozen=True)
class Cursor:
    """`taken` counts rows per shard in this epoch, in the epoch's own order of each shard;
    `finished` holds the shards of which nothing is left. `step` counts optimizer steps over the
    whole job; `rows` is the sum of `taken`. The counts mean something in `order` only, so it is
    part of the cursor and holds for the whole job. `blocks` are the places where shards that are
    begun go on; one that is not there goes on after as many rows as were taken of it.
    """

    epoch: int = 0
    step: int = 0
    taken: Mapping[ShardId, int] = field(default_factory=dict)
    finished: frozenset[ShardId] = frozenset()
    order: Order = field(default_factory=Order)
    blocks: Mapping[ShardId, Block] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(self.taken.values())

    def after(self, step: Iterable[Taken]) -> Cursor:
        """The cursor once a step's rows, of all ranks, are part of the parameters."""
        taken = dict(self.taken)
        finished = set(self.finished)
        blocks = dict(self.blocks)
        for shard, rows, done, block in step:
            taken[shard] = taken.get(shard, 0) + rows
            blocks.pop(shard, None)
            if done:
                finished.add(shard)
            elif block is not None:
                blocks[shard] = block
        return replace(
            self, step=self.step + 1, taken=taken, finished=frozenset(finished), blocks=blocks
        )

    def next_epoch(self) -> Cursor:
        """The start of the following epoch."""
        return Cursor(epoch=self.epoch + 1, step=self.step, order=self.order)
