"""Values at many offsets of one page, brought together into Arrow arrays by compiled loops.

Offsets come from untrusted bytes: who makes a `Cells` has checked that they lie inside the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from insitu.databases.ignite.binary.codes import ARRAY_DTYPES, SCALAR_DTYPES, Code
from insitu.databases.ignite.binary.values import NOT_A_TIME
from insitu.databases.ignite.columns.shape import ListShape, Plain, Shape

Bytes: TypeAlias = npt.NDArray[np.uint8]
Offsets: TypeAlias = npt.NDArray[np.int64]
Table: TypeAlias = npt.NDArray[np.uint8]
"""Two dimensions: the bytes of each row."""

Mask: TypeAlias = npt.NDArray[np.bool_]

_NANOS_PER_MILLI: Final = 1_000_000
#: What 64 bits of nanoseconds can tell, in milliseconds and nanoseconds.
_FIRST: Final = divmod(NOT_A_TIME + 1, _NANOS_PER_MILLI)
_LAST: Final = divmod((1 << 63) - 1, _NANOS_PER_MILLI)
_MILLIS_PER_DAY: Final = 86_400_000

#: Bytes of each fixed-width value after its code.
WIDTHS: Final[Mapping[int, int]] = MappingProxyType(
    {
        **{code: np.dtype(dtype).itemsize for code, dtype in SCALAR_DTYPES.items()},
        Code.CHAR: 2,
        Code.BOOL: 1,
        Code.UUID: 16,
        Code.DATE: 8,
        Code.TIMESTAMP: 12,
        Code.TIME: 8,
    }
)

#: Bytes of each element of those values that carry an int32 count after their code.
UNITS: Final[Mapping[int, int]] = MappingProxyType(
    {
        **{code: np.dtype(dtype).itemsize for code, dtype in ARRAY_DTYPES.items()},
        Code.STRING: 1,
        Code.BYTE_ARRAY: 1,
        Code.CHAR_ARRAY: 2,
    }
)


def head_size(code: int) -> int:
    """Bytes of a value before its data: its code, and its count if it has one."""
    return 5 if code in UNITS else 1


class Cells(Protocol):
    """The values of one column on one page, all with the same type code.

    A value's bytes are those after its code and its count. Rows in `missing` have none; None says
    that no row is missing.
    """

    @property
    def missing(self) -> Mask | None: ...

    def numbers(self, dtype: str, shift: int = 0) -> npt.NDArray[Any]:
        """The numbers `shift` bytes into each value; 0 for what is missing."""
        ...

    def blobs(self) -> pa.Array:
        """The bytes of each value as a binary array, each byte copied once."""
        ...


@dataclass(frozen=True, slots=True)
class Located:
    """The values of one column on one page, by type code; NULL, without cells, if all are null."""

    code: int
    cells: Cells | None


@dataclass(frozen=True, slots=True)
class Scattered:
    """`sizes[i]` bytes at `at[i]` of `page`; they ascend and do not overlap."""

    page: Bytes
    at: Offsets
    sizes: Offsets
    missing: Mask | None

    def numbers(self, dtype: str, shift: int = 0) -> npt.NDArray[Any]:
        if self.missing is None:
            return numbers(self.page, self.at + shift, dtype)
        found = numbers(self.page, np.where(self.missing, 0, self.at + shift), dtype)
        found[self.missing] = 0
        return found

    def blobs(self) -> pa.Array:
        """The page itself is laid out as a binary array, values and the gaps between them in turn,
        of which Arrow then takes every other one, each by memcpy.
        """
        count = self.at.size
        ends = np.empty(2 * count, np.int32)
        ends[0::2] = self.at
        ends[1::2] = self.at + self.sizes
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(self.page)]
        everything = pa.Array.from_buffers(pa.binary(), 2 * count - 1, buffers)
        return everything.take(pa.array(np.arange(0, 2 * count, 2), mask=self.missing))


@dataclass(frozen=True, slots=True)
class Strided:
    """`size` bytes at `at` of each row of `table`, where all rows are alike."""

    table: Table
    at: int
    size: int
    missing: None = None

    def numbers(self, dtype: str, shift: int = 0) -> npt.NDArray[Any]:
        return numbers_of(self.table, self.at + shift, dtype).copy()

    def blobs(self) -> pa.Array:
        rows = len(self.table)
        # Arrow's own memory: it is used again, and fresh pages of the system cost more than a copy.
        data = pa.allocate_buffer(rows * self.size)
        values = np.frombuffer(data, np.uint8).reshape(rows, self.size)
        np.copyto(values, self.table[:, self.at : self.at + self.size])
        ends = np.arange(rows + 1, dtype=np.int32) * np.int32(self.size)
        return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(ends), data])


def numbers_of(table: Table, at: int, dtype: str) -> npt.NDArray[Any]:
    """The number at `at` of each row, not copied and not aligned."""
    return np.ndarray((len(table),), dtype, table, at, (table.shape[1],))


def numbers(page: Bytes, at: Offsets, dtype: str) -> npt.NDArray[Any]:
    """The numbers of type `dtype` that start at each of `at`, aligned or not."""
    kind = np.dtype(dtype)
    everywhere: npt.NDArray[Any] = np.ndarray(
        (page.size - kind.itemsize + 1,), kind, buffer=page, strides=(1,)
    )
    return everywhere[at]


#: None where a value needs the general decoder, if only to say what is wrong with it.
Gather: TypeAlias = Callable[[Cells], pa.Array | None]


def _strings(cells: Cells) -> pa.Array | None:
    try:
        return cells.blobs().cast(pa.string())
    except pa.ArrowInvalid:  # not UTF-8
        return None


def _lists(dtype: str) -> Gather:
    kind = np.dtype(dtype)
    items = pa.from_numpy_dtype(kind)

    def gather(cells: Cells) -> pa.Array:
        packed = cells.blobs()
        validity, offsets, data = packed.buffers()
        ends = np.frombuffer(offsets, np.int32, len(packed) + 1) // kind.itemsize
        total = int(ends[-1])
        if kind == np.bool_:
            values = pa.array(np.frombuffer(data or b"", np.uint8, total) != 0)
        else:
            values = pa.Array.from_buffers(items, total, [None, data])
        buffers = [validity, pa.py_buffer(ends)]
        return pa.Array.from_buffers(pa.list_(items), len(packed), buffers, children=[values])

    return gather


def _scalars(dtype: str) -> Gather:
    return lambda cells: pa.array(cells.numbers(dtype), mask=cells.missing)


def _bools(cells: Cells) -> pa.Array:
    return pa.array(cells.numbers("u1") != 0, mask=cells.missing)


def _dates(cells: Cells) -> pa.Array | None:
    millis = cells.numbers("<i8")
    if (millis == NOT_A_TIME).any():
        return None
    return pa.array(millis.view("M8[ms]"), mask=cells.missing)


def _timestamps(cells: Cells) -> pa.Array | None:
    millis, nanos = cells.numbers("<i8"), cells.numbers("<i4", 8)
    early = (millis < _FIRST[0]) | ((millis == _FIRST[0]) & (nanos < _FIRST[1]))
    late = (millis > _LAST[0]) | ((millis == _LAST[0]) & (nanos > _LAST[1]))
    if (early | late | (nanos < 0) | (nanos >= _NANOS_PER_MILLI)).any():
        return None
    return pa.array((millis * _NANOS_PER_MILLI + nanos).view("M8[ns]"), mask=cells.missing)


def _times(cells: Cells) -> pa.Array:
    # An instant, of any day, depending on the zone of the server that wrote it.
    millis = cells.numbers("<i8") % _MILLIS_PER_DAY
    return pa.array(millis.astype(np.int32), pa.time32("ms"), mask=cells.missing)


def _uuids(cells: Cells) -> pa.Array:
    data = np.stack([cells.numbers("<u8"), cells.numbers("<u8", 8)], axis=1).astype(">u8")
    plain = pa.Array.from_buffers(pa.binary(16), len(data), [None, pa.py_buffer(data)])
    if cells.missing is not None:
        plain = pc.if_else(pa.array(cells.missing), None, plain)
    return pa.ExtensionArray.from_storage(pa.uuid(), plain)


@dataclass(frozen=True, slots=True)
class Known:
    """What values of one code become without the general decoder, in columns of that shape."""

    shape: Shape
    gather: Gather


def _known() -> dict[int, Known]:
    gather: dict[Code, Gather] = {
        Code.BOOL: _bools,
        Code.STRING: _strings,
        Code.BYTE_ARRAY: lambda cells: cells.blobs(),
        Code.DATE: _dates,
        Code.TIMESTAMP: _timestamps,
        Code.TIME: _times,
        Code.UUID: _uuids,
        **{code: _scalars(dtype) for code, dtype in SCALAR_DTYPES.items()},
    }
    known = {int(code): Known(Plain(code), each) for code, each in gather.items()}
    for code, dtype in ARRAY_DTYPES.items():
        item = Code[code.name.removesuffix("_ARRAY")]
        known[code] = Known(ListShape(Plain(item)), _lists(dtype))
    return known


#: By type code.
KNOWN: Final[Mapping[int, Known]] = MappingProxyType(_known())
