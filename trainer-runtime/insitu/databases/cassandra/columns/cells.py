"""The values of one column on one page, and how compiled loops bring their bytes together.

Offsets come from untrusted bytes: who makes cells has checked that they lie inside the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes: TypeAlias = npt.NDArray[np.uint8]
Offsets: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

NULL: Final = -1


class Cells(Protocol):
    """Values in the order of rows. `missing` rows have none; None says that no row is missing."""

    @property
    def count(self) -> int: ...

    @property
    def missing(self) -> Mask | None: ...

    @property
    def total(self) -> int:
        """Bytes of all values together."""
        ...

    def all_have(self, size: int) -> bool:
        """Whether every value that is not missing has `size` bytes."""
        ...

    def numbers(self, dtype: str, each: int = 1) -> npt.NDArray[Any]:
        """The first `each` numbers of every value, flat and in the machine's byte order.

        Where a value is missing the numbers mean nothing.
        """
        ...

    def blobs(self) -> pa.Array:
        """The bytes of each value as a binary array, each byte copied once."""
        ...

    def laid_out(self) -> pa.Array:
        """The page itself as a binary array, without copies: value, gap, value, ..., value.

        There is one value at least.
        """
        ...

    def value(self, row: int) -> bytes:
        """The bytes of one value; none where it is missing."""
        ...

    def without_empty(self) -> Cells:
        """The same with values of no bytes as missing ones."""
        ...

    def scattered(self) -> Scattered:
        """The same, wherever each value lies."""
        ...


@dataclass(frozen=True, slots=True)
class Strided:
    """`count` values of `size` bytes each: the first at `first` of `page`, then every `stride`."""

    page: Bytes
    first: int
    stride: int
    size: int
    count: int

    @property
    def missing(self) -> Mask | None:
        return np.ones(self.count, np.bool_) if self.size == NULL else None

    @property
    def total(self) -> int:
        return self.count * max(self.size, 0)

    def all_have(self, size: int) -> bool:
        return self.size in (size, NULL)

    def numbers(self, dtype: str, each: int = 1) -> npt.NDArray[Any]:
        kind = np.dtype(dtype)
        if self.size == NULL:
            return np.zeros(self.count * each, kind.newbyteorder("="))
        shape, strides = (self.count, each), (self.stride, kind.itemsize)
        found: npt.NDArray[Any] = np.ndarray(shape, kind, self.page, self.first, strides)
        return _native(found).reshape(-1)

    def blobs(self) -> pa.Array:
        if self.size == NULL:
            return pa.nulls(self.count, pa.binary())
        data = memory(self.count * self.size)
        copied = np.frombuffer(data, np.uint8).reshape(self.count, self.size)
        shape, strides = (self.count, self.size), (self.stride, 1)
        np.copyto(copied, np.ndarray(shape, np.uint8, self.page, self.first, strides))
        ends = np.arange(self.count + 1, dtype=np.int32) * np.int32(self.size)
        return pa.Array.from_buffers(pa.binary(), self.count, [None, pa.py_buffer(ends), data])

    def laid_out(self) -> pa.Array:
        return self.scattered().laid_out()

    def value(self, row: int) -> bytes:
        at = self.first + row * self.stride
        return self.page[at : at + max(self.size, 0)].tobytes()

    def without_empty(self) -> Strided:
        if self.size:
            return self
        return Strided(self.page, self.first, self.stride, NULL, self.count)

    def scattered(self) -> Scattered:
        at = self.first + self.stride * np.arange(self.count, dtype=np.int64)
        return Scattered(self.page, at, np.full(self.count, self.size, np.int64))


@dataclass(frozen=True, slots=True)
class Grid:
    """Items of lists of one length: `each` of `size` bytes in each of `rows` lists.

    The first is at `first` of `page`; the next list is `stride` bytes on, the next item `step`.
    """

    page: Bytes
    first: int
    stride: int
    rows: int
    step: int
    each: int
    size: int

    missing: None = None

    @property
    def count(self) -> int:
        return self.rows * self.each

    @property
    def total(self) -> int:
        return self.count * self.size

    def all_have(self, size: int) -> bool:
        return self.size == size

    def numbers(self, dtype: str, each: int = 1) -> npt.NDArray[Any]:
        kind = np.dtype(dtype)
        shape, strides = (self.rows, self.each, each), (self.stride, self.step, kind.itemsize)
        found: npt.NDArray[Any] = np.ndarray(shape, kind, self.page, self.first, strides)
        return _native(found).reshape(-1)

    def blobs(self) -> pa.Array:
        return self.scattered().blobs()

    def laid_out(self) -> pa.Array:
        return self.scattered().laid_out()

    def value(self, row: int) -> bytes:
        at = self.first + row // self.each * self.stride + row % self.each * self.step
        return self.page[at : at + self.size].tobytes()

    def without_empty(self) -> Cells:
        return self if self.size else self.scattered().without_empty()

    def scattered(self) -> Scattered:
        lists = self.first + self.stride * np.arange(self.rows, dtype=np.int64)
        at = np.add.outer(lists, self.step * np.arange(self.each, dtype=np.int64)).reshape(-1)
        return Scattered(self.page, at, np.full(self.count, self.size, np.int64))


@dataclass(frozen=True, slots=True)
class Scattered:
    """`sizes[i]` bytes at `at[i]` of `page`, -1 for null; they ascend and do not overlap."""

    page: Bytes
    at: Offsets
    sizes: Offsets

    @property
    def count(self) -> int:
        return self.at.size

    @property
    def missing(self) -> Mask | None:
        missing = self.sizes < 0
        return missing if missing.any() else None

    @property
    def total(self) -> int:
        return int(np.maximum(self.sizes, 0).sum())

    def all_have(self, size: int) -> bool:
        return bool(((self.sizes == size) | (self.sizes < 0)).all())

    def numbers(self, dtype: str, each: int = 1) -> npt.NDArray[Any]:
        missing = self.missing
        if missing is None:
            return self._numbers(self.at, dtype, each).reshape(-1)
        found = np.zeros((self.count, each), np.dtype(dtype).newbyteorder("="))
        there = ~missing
        found[there] = self._numbers(self.at[there], dtype, each)
        return found.reshape(-1)

    def _numbers(self, at: Offsets, dtype: str, each: int) -> npt.NDArray[Any]:
        kind = np.dtype(dtype)
        size = kind.itemsize * each
        if not at.size:
            return np.empty((0, each), kind.newbyteorder("="))
        if each == 1:
            return words(self.page, at, dtype).reshape(-1, 1)
        blobs = Scattered(self.page, at, np.full(at.size, size, np.int64)).blobs()
        _, _, data = blobs.buffers()
        return _native(np.frombuffer(data, kind, at.size * each).reshape(-1, each))

    def blobs(self) -> pa.Array:
        """Arrow takes every other one of the page laid out, each by memcpy."""
        if not self.count:
            return pa.array([], pa.binary())
        return self.laid_out().take(pa.array(np.arange(0, 2 * self.count, 2)))

    def laid_out(self) -> pa.Array:
        ends = np.empty(2 * self.count, np.int32)
        ends[0::2] = self.at
        ends[1::2] = self.at + np.maximum(self.sizes, 0)
        missing, valid = self.missing, None
        if missing is not None:
            bits = np.packbits(np.repeat(~missing, 2), bitorder="little")
            valid = pa.py_buffer(bits)
        buffers = [valid, pa.py_buffer(ends), pa.py_buffer(self.page)]
        return pa.Array.from_buffers(pa.binary(), ends.size - 1, buffers)

    def value(self, row: int) -> bytes:
        at = int(self.at[row])
        return self.page[at : at + max(int(self.sizes[row]), 0)].tobytes()

    def without_empty(self) -> Scattered:
        if self.sizes.all():
            return self
        return Scattered(self.page, self.at, np.where(self.sizes == 0, NULL, self.sizes))

    def scattered(self) -> Scattered:
        return self


def words(page: Bytes, at: Offsets, dtype: str = ">i4") -> npt.NDArray[Any]:
    """The numbers of type `dtype` that start at each of `at`, aligned or not."""
    kind = np.dtype(dtype)
    if not at.size:
        return np.empty(0, kind.newbyteorder("="))
    everywhere: npt.NDArray[Any] = np.ndarray(
        (page.size - kind.itemsize + 1,), kind, buffer=page, strides=(1,)
    )
    return _native(everywhere[at])


def _native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy in the machine's byte order, one value after the other."""
    kind = values.dtype.newbyteorder("=")
    if not values.size:
        return np.empty(values.shape, kind)
    copied = np.frombuffer(memory(values.size * kind.itemsize), kind).reshape(values.shape)
    np.copyto(copied, values)
    return copied


def memory(size: int) -> pa.Buffer:
    """Arrow's own, which is used again: fresh pages of the system cost more than a copy."""
    return pa.allocate_buffer(size)
