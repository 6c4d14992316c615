"""Primary keys of a page's rows: taken from its bytes, and only for rows that are asked for.

Rows of a range come in the order of their tokens, then of their partition keys, then of their
clustering columns. So a row's primary key is its place among all rows, whichever others come and
go, and a few steps of a binary search tell which rows of a page are before it.
"""

from __future__ import annotations

import bisect
import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from insitu.databases import RowPosition
from insitu.databases.cassandra.columns.cells import Cells, Scattered
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
        return _encoded((*self.partition, *self.clustering), self.sample)

    @property
    def position(self) -> RowPosition:
        return RowPosition(self.token, self.data)

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
        key: Sequence[Cells],
        rows: int,
        samples: Counts | None = None,
    ) -> None:
        """`key` are the columns of the primary key, those of the partition key first; `samples`
        are those of each row, where rows are packed.
        """
        self.shape = shape
        self._key = key
        self._samples = samples
        self._count = rows if samples is None else int(samples.sum())

    def __len__(self) -> int:
        return self._count

    def key(self, row: int) -> RowKey:
        """The key of row or sample number `row`."""
        [values], [sample] = self._values(np.array([row]))
        return RowKey(values[: self.shape.partition], values[self.shape.partition :], sample)

    def digests(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
        """Of the keys of `rows` (n,), uint64 (n,)."""
        pairs = zip(*self._values(rows), strict=True)
        data = [
            hashlib.blake2b(_encoded(values, sample), digest_size=8).digest()
            for values, sample in pairs
        ]
        return np.frombuffer(b"".join(data), ">u8").astype(np.uint64)

    def before(self, key: RowKey) -> int:
        """How many of the rows are before `key`, whether that row is there or not."""
        return bisect.bisect_left(range(self._count), self._sort(key), key=self._sort_at)

    def up_to(self, key: RowKey) -> int:
        """How many of the rows are before `key`, or its own."""
        return bisect.bisect_right(range(self._count), self._sort(key), key=self._sort_at)

    def _values(
        self, rows: npt.NDArray[np.intp]
    ) -> tuple[list[tuple[bytes, ...]], list[int] | list[None]]:
        """The values of each of `rows`, and their samples' numbers."""
        numbers: list[int] | list[None] = [None] * len(rows)
        if self._samples is not None:
            packed = np.searchsorted(self._ends, rows, side="right")
            numbers = (rows - (self._ends - self._samples)[packed]).tolist()
            rows = packed
        columns = [_bytes_of(cells, rows) for cells in self._columns]
        return list(zip(*columns, strict=True)), numbers

    @cached_property
    def _columns(self) -> list[Scattered]:
        return [cells.scattered() for cells in self._key]

    @cached_property
    def _ends(self) -> Counts:
        """Where the samples of each row end."""
        assert self._samples is not None, "rows are not packed"
        return np.cumsum(self._samples)

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
        return self.page.digests(rows + self.first)


def _encoded(values: Iterable[bytes], sample: int | None) -> bytes:
    parts = [_SIZE.pack(len(each)) + each for each in values]
    return b"".join(parts) + (b"" if sample is None else _SAMPLE.pack(sample))


def _bytes_of(cells: Scattered, rows: npt.NDArray[np.intp]) -> list[bytes]:
    """The bytes of some values; none where one is missing."""
    at, sizes, data = cells.at[rows], np.maximum(cells.sizes[rows], 0), cells.page.data
    return [bytes(data[a:b]) for a, b in zip(at.tolist(), (at + sizes).tolist(), strict=True)]


def _directed(column: ClusteringColumn, value: bytes) -> Any:
    key = sort_key(column.type, value)
    return Descending(key) if column.descending else key
