"""Primary keys of a page's rows: taken from its bytes, and only for rows that are asked for.

Rows of a range come in the order of their tokens, then of their partition keys, then of their
clustering columns. So a row's primary key is its place among all rows, whichever others come and
go, and a few steps of a binary search tell which rows of a page are before it.
"""

from __future__ import annotations

import bisect
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from insitu.databases import RowPosition
from insitu.databases.cassandra.columns.cells import KeyCells
from insitu.databases.cassandra.columns.ordering import Descending, SortKey, sort_key
from insitu.databases.cassandra.columns.types import HAS_EMPTY, CqlType
from insitu.databases.cassandra.reading.tokens import joined, token_of
from insitu.errors import DataChanged

Counts: TypeAlias = npt.NDArray[np.int64]

_SIZE: Final = struct.Struct(">I")
_SAMPLE: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class ClusteringColumn:
    """Rows of a partition are kept in its order, or in the reverse where it is `descending`."""

    type: CqlType
    descending: bool = False


@dataclass(frozen=True, slots=True)
class KeyShape:
    """What tells the rows of a table apart.

    `partition` counts the columns of the partition key. `packed` rows are many samples each, and
    a sample is told by its row and its number there.
    """

    partition: int
    clustering: tuple[ClusteringColumn, ...] = ()
    packed: bool = False

    def can_bound(self, key: RowKey) -> bool:
        """Whether a server takes its clustering columns as a bound: not where they are null, as
        in the row of a partition that has only static columns.
        """
        pairs = list(zip(self.clustering, key.clustering, strict=True))
        return bool(pairs) and all(value or column.type in HAS_EMPTY for column, value in pairs)


@dataclass(frozen=True)
class RowKey:
    """A row's primary key, as the bytes that servers send; the clustering columns are empty in
    the one row of a partition that has only static columns.
    """

    partition: tuple[bytes, ...]
    clustering: tuple[bytes, ...] = ()
    sample: int | None = None

    @cached_property
    def token(self) -> int:
        """Of its partition."""
        return token_of(self.partition)

    @cached_property
    def data(self) -> bytes:
        """All of it, each value after its length; the sample's number comes last."""
        parts = [_SIZE.pack(len(each)) + each for each in (*self.partition, *self.clustering)]
        return b"".join(parts) + (b"" if self.sample is None else _SAMPLE.pack(self.sample))

    @property
    def position(self) -> RowPosition:
        return RowPosition(self.token, self.data)

    @property
    def digest(self) -> int:
        """64 bits, unsigned: two rows share them by chance alone."""
        return int.from_bytes(hashlib.blake2b(self.data, digest_size=8).digest(), "big")

    def sort_key(self, shape: KeyShape) -> SortKey:
        """What compares as the servers keep the rows of a table of that shape."""
        pairs = zip(shape.clustering, self.clustering, strict=True)
        clustering = [_directed(column, value) for column, value in pairs]
        return (self.token, joined(self.partition), *clustering, self.sample or 0)


def parse_key(shape: KeyShape, position: RowPosition) -> RowKey:
    """The inverse of `RowKey.position`.

    Raises:
        DataChanged: rows of the table have another primary key.
    """
    data, at = position.key, 0
    values: list[bytes] = []
    sample = None
    try:
        for _ in range(shape.partition + len(shape.clustering)):
            (size,) = _SIZE.unpack_from(data, at)
            at += _SIZE.size + size
            values.append(data[at - size : at])
        sample = _SAMPLE.unpack_from(data, at)[0] if shape.packed else None
    except struct.error:  # it ends too early, which shows below
        values.clear()
    found = RowKey(tuple(values[: shape.partition]), tuple(values[shape.partition :]), sample)
    if found.data != data or found.token != position.number:
        raise DataChanged(
            "the place where reading is to go on is not in this table: its rows have another "
            "primary key than those that were read. Start the epoch afresh"
        )
    return found


class PageKeys:
    """Of the rows of one page, or of the samples that are packed in them."""

    def __init__(
        self,
        shape: KeyShape,
        partition: Sequence[KeyCells],
        clustering: Sequence[KeyCells],
        rows: int,
        samples: Counts | None = None,
    ) -> None:
        """`samples` are those of each row, where rows are packed."""
        self.shape = shape
        self._partition = partition
        self._clustering = clustering
        self._ends = None if samples is None else np.cumsum(samples)
        self._counts = samples
        self._count = rows if samples is None else int(samples.sum())

    def __len__(self) -> int:
        return self._count

    def key(self, row: int) -> RowKey:
        """The key of row or sample number `row`."""
        sample = None
        if self._ends is not None and self._counts is not None:
            packed = int(np.searchsorted(self._ends, row, side="right"))
            sample = row - int(self._ends[packed] - self._counts[packed])
            row = packed
        return RowKey(
            tuple([cells.value(row) for cells in self._partition]),
            tuple([cells.value(row) for cells in self._clustering]),
            sample,
        )

    def before(self, key: RowKey) -> int:
        """How many of the rows are before `key`, whether that row is there or not."""
        return bisect.bisect_left(range(self._count), self._sort(key), key=self._sort_at)

    def up_to(self, key: RowKey) -> int:
        """How many of the rows are before `key`, or its own."""
        return bisect.bisect_right(range(self._count), self._sort(key), key=self._sort_at)

    def _sort(self, key: RowKey) -> SortKey:
        return key.sort_key(self.shape)

    def _sort_at(self, row: int) -> SortKey:
        return self._sort(self.key(row))


@dataclass(frozen=True, slots=True)
class BatchKeys:
    """`insitu.databases.RowKeys` of a batch of `rows` rows whose first is row `first` of a page."""

    page: PageKeys
    first: int
    rows: int

    def position(self, row: int) -> RowPosition:
        """See `insitu.databases.RowKeys.position`."""
        return self.page.key(self.first + row).position

    def up_to(self, position: RowPosition) -> int:
        """See `insitu.databases.RowKeys.up_to`."""
        found = self.page.up_to(parse_key(self.page.shape, position)) - self.first
        return min(max(found, 0), self.rows)

    def digests(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
        """See `insitu.databases.RowKeys.digests`."""
        found = [self.page.key(self.first + row).digest for row in rows.tolist()]
        return np.array(found, np.uint64)


def _directed(column: ClusteringColumn, value: bytes) -> Any:
    key = sort_key(column.type, value)
    return Descending(key) if column.descending else key
