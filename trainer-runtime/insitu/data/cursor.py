"""How much of an epoch is already part of the parameters.

A cursor is a value: small, JSON, the same on every rank, and independent of how many ranks there
are, so any later set of ranks can go on from it. It is committed together with the parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from insitu.data.order import Order
from insitu.databases import RowPosition
from insitu.topology import ShardId

#: uint64 (n,): see `insitu.databases.RowKeys.digests`.
Digests = npt.NDArray[np.uint64]


class BlockPosition(NamedTuple):
    """The block that a shard's next row is in: number `number` of its shard in this epoch.

    It begins at `first`. Where some of it was taken, it also has its `last` row, how many `rows`
    lay between the two when they were read, and how many were `taken`; which these are is told by
    the digests that are committed beside the cursor.
    """

    first: RowPosition
    last: RowPosition | None = None
    rows: int = 0
    taken: int = 0
    number: int = 0


class BegunShard(NamedTuple):
    """Where a shard goes on that an epoch is in the middle of: in `block`, without the rows whose
    digests are `taken`.
    """

    block: BlockPosition
    taken: Digests


class Taken(NamedTuple):
    """One rank's use of one shard in one step: `rows` more; `finished` if those were the last.

    `changed` if rows were found to have come or gone where an earlier run was in the middle of a
    block.
    """

    shard: ShardId
    rows: int
    finished: bool
    changed: bool = False


@dataclass(frozen=True)
class Cursor:
    """`taken` counts rows per shard in this epoch; `finished` holds the shards of which nothing is
    left. `step` counts optimizer steps over the whole job; `rows` is the sum of `taken`. Where a
    shard goes on follows from `order`, which holds for the whole job, and from `blocks`: these are
    filled in when a cursor is committed, for all shards that are begun and not finished, and are
    left out for a shard that more was taken of since.

    `counted` are the table's rows as they were counted last, or the rows of the last whole epoch
    where the database can't count; None before that. `inexact` if rows are known to have come or
    gone in this epoch, which is said once; `inexact_epochs` counts such epochs before it.
    """

    epoch: int = 0
    step: int = 0
    taken: Mapping[ShardId, int] = field(default_factory=dict)
    finished: frozenset[ShardId] = frozenset()
    order: Order = field(default_factory=Order)
    blocks: Mapping[ShardId, BlockPosition] = field(default_factory=dict)
    counted: int | None = None
    inexact: bool = False
    inexact_epochs: int = 0

    @property
    def rows(self) -> int:
        return sum(self.taken.values())

    def after(self, step: Iterable[Taken]) -> Cursor:
        """The cursor once a step's rows, of all ranks, are part of the parameters."""
        taken = dict(self.taken)
        finished = set(self.finished)
        blocks = dict(self.blocks)
        for shard, rows, done, _ in step:
            taken[shard] = taken.get(shard, 0) + rows
            if rows or done:
                blocks.pop(shard, None)
            if done:
                finished.add(shard)
        return replace(
            self, step=self.step + 1, taken=taken, finished=frozenset(finished), blocks=blocks
        )

    def next_epoch(self) -> Cursor:
        """The start of the following epoch."""
        return Cursor(
            epoch=self.epoch + 1,
            step=self.step,
            order=self.order,
            counted=self.counted,
            inexact_epochs=self.inexact_epochs + self.inexact,
        )
