"""Keys of rows that are numbers, in their order: what a reader of a table in memory gives."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insitu.databases import RowPosition


@dataclass(frozen=True)
class NumberKeys:
    """`insitu.databases.RowKeys` of rows with these ascending numbers."""

    numbers: Sequence[int]

    def position(self, row: int) -> RowPosition:
        return at(self.numbers[row])

    def up_to(self, position: RowPosition) -> int:
        return bisect.bisect_right(self.numbers, position.number)

    def digests(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
        return np.array([self.numbers[row] for row in rows], np.uint64)


def at(number: int) -> RowPosition:
    """Where the row of that number lies."""
    return RowPosition(number, str(number).encode())
