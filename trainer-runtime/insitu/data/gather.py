"""Permuted rows put together: each row is copied once, from where it was read to its batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from insitu.columns import empty_batch

Places: TypeAlias = npt.NDArray[np.intp]
Numbers: TypeAlias = npt.NDArray[Any]


class Permuted:
    """The rows of `batch` at `places` (rows,), in that order.

    Columns of numbers, or of lists of as many numbers in each row, stay where they are until
    `gather` copies their rows. Arrow takes other columns, once, when they are first needed; lists
    whose type gives their length, as of vectors, are among those, for it is as quick with them.
    """

    def __init__(self, batch: pa.RecordBatch, places: Places) -> None:
        self.places = places
        self._columns: list[pa.Array] = batch.columns
        self._numbers: dict[int, Numbers | None] = {}
        self._taken: dict[int, pa.Array] = {}

    def __len__(self) -> int:
        return len(self.places)

    def numbers(self, column: int) -> Numbers | None:
        """The numbers of a column in the batch's own order, (rows, numbers a row), not copied;
        None where it is no such column.
        """
        if column not in self._numbers:
            self._numbers[column] = _numbers(self._columns[column])
        return self._numbers[column]

    def taken(self, column: int) -> pa.Array:
        """A column in the order of `places`."""
        if column not in self._taken:
            self._taken[column] = self._columns[column].take(pa.array(self.places))
        return self._taken[column]


class Piece(NamedTuple):
    """Rows `first` to `end` of a block."""

    block: Permuted
    first: int
    end: int


def gather(pieces: Sequence[Piece], schema: pa.Schema) -> pa.RecordBatch:
    """The rows of all `pieces`, one after the other."""
    if not pieces:
        return empty_batch(schema)
    columns = [_column(pieces, number, kind) for number, kind in enumerate(schema.types)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(pieces: Sequence[Piece], column: int, kind: pa.DataType) -> pa.Array:
    sources = [numbers for piece in pieces if (numbers := piece.block.numbers(column)) is not None]
    if len(sources) == len(pieces) and len({source.shape[1] for source in sources}) == 1:
        return _copied(pieces, sources, kind)
    arrays = [block.taken(column).slice(first, end - first) for block, first, end in pieces]
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def _copied(pieces: Sequence[Piece], sources: Sequence[Numbers], kind: pa.DataType) -> pa.Array:
    rows = sum(piece.end - piece.first for piece in pieces)
    width = sources[0].shape[1]
    # Arrow's memory is aligned as TensorFlow needs it to take it over without a copy.
    buffer = pa.allocate_buffer(rows * width * sources[0].itemsize)
    values = np.frombuffer(buffer, sources[0].dtype).reshape(rows, width)
    at = 0
    for (block, first, end), source in zip(pieces, sources, strict=True):
        # Every place is a row of the block; with any other mode numpy copies twice.
        part = values[at : at + end - first]
        source.take(block.places[first:end], axis=0, out=part, mode="clip")
        at += end - first
    if not _is_list(kind):
        return pa.Array.from_buffers(kind, rows, [None, buffer])
    numbers = pa.Array.from_buffers(kind.value_type, rows * width, [None, buffer])
    large = pa.types.is_large_list(kind)
    lists, ends = (pa.LargeListArray, pa.int64()) if large else (pa.ListArray, pa.int32())
    offsets = pa.array(np.arange(rows + 1, dtype=np.int64) * width, ends)
    return lists.from_arrays(offsets, numbers, type=kind)


def _numbers(column: pa.Array) -> Numbers | None:
    if column.null_count or not len(column):
        return None
    width = 1
    if _is_list(column.type):
        ends = column.offsets.to_numpy()
        width = int(ends[1] - ends[0])
        if not width or (np.diff(ends) != width).any():
            return None
        column = column.values[ends[0] : ends[-1]]
    if column.null_count or not (
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    ):
        return None
    numbers: Numbers = column.to_numpy().reshape(-1, width)
    return numbers


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
