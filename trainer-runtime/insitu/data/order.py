"""In which order an epoch goes through the rows: pure, and the same for ever.

Two levels, as in CorgiPile (https://arxiv.org/abs/2206.05830): the shards of a rank are put into a
keyed order, and within a block of consecutive rows of a shard the rows are permuted. Both keys
name the seed, the epoch and the shard, never a rank, so that a row's place in its shard follows
from the seed and two integers, and any rank can go on where another one stopped.

Order is part of what a cursor means: a run that resumes with another order would repeat some rows
and miss others. So nothing here depends on a library's random stream: words come from SHAKE-128
(FIPS 202), whose bytes are the same on every machine and with every version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insitu.topology import ShardId

BLOCK_ROWS = 1024
BLOCK_BYTES = 16 << 20
_SMALLEST_BLOCK = 16


@dataclass(frozen=True, slots=True)
class Order:
    """What fixes the order of every epoch of a job, together with the epoch's number.

    `block_rows` rows are held in memory and permuted at a time, for each shard that is open:
    larger blocks mix better and cost memory. Neither value may change inside an epoch.
    """

    seed: int = 0
    block_rows: int = BLOCK_ROWS

    def __post_init__(self) -> None:
        if self.block_rows < 1:
            raise ValueError(f"a block has at least one row, not {self.block_rows}")

    @classmethod
    def sized(cls, seed: int, row_bytes: float) -> Order:
        """The order whose blocks stay near 16 MiB: the largest power of two of rows that fits,
        between 16 and 1,024.
        """
        rows = BLOCK_ROWS
        while rows > _SMALLEST_BLOCK and rows * row_bytes > BLOCK_BYTES:
            rows //= 2
        return cls(seed, rows)

    def shards(self, epoch: int, shards: Iterable[ShardId]) -> list[ShardId]:
        """`shards` in this epoch's order, whatever order they come in."""
        return sorted(shards, key=lambda shard: (_bits(16, self.seed, epoch, shard), shard))

    def permutation(self, epoch: int, shard: ShardId, block: int, rows: int) -> Permutation:
        """The order of a block: int64[rows], position -> row of the block.

        `rows` is the block's true length, `block_rows` for every block but a shard's last.
        """
        words = _bits(8 * rows, self.seed, epoch, shard, block)
        return np.frombuffer(words, dtype="<u8").argsort(kind="stable")


Permutation = npt.NDArray[np.intp]


def _bits(length: int, *key: int | str) -> bytes:
    """`length` bytes that look random and follow from `key`."""
    texts = [str(part).encode() for part in key]
    # Each part carries its length, so that no two keys read the same.
    return hashlib.shake_128(b"".join(b"%d:%b," % (len(t), t) for t in texts)).digest(length)
