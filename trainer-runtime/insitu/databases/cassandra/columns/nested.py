"""Where the items of collections, tuples, user-defined types and vectors lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from insitu.databases.cassandra.columns.cells import (
    Bytes,
    Cells,
    Grid,
    Offsets,
    Scattered,
    Strided,
    words,
)
from insitu.databases.cassandra.columns.rows import fields
from insitu.databases.cassandra.columns.types import VectorOf, spell
from insitu.databases.cassandra.columns.values import unsigned_vint
from insitu.databases.cassandra.columns.walk import INT_SIZE, record_starts
from insitu.errors import ProtocolError


def list_items(path: str, cells: Cells, width: int | None) -> tuple[Offsets, Cells]:
    """As `collection_items`, of lists alone; those of one length, as features are, at once."""
    if isinstance(cells, Strided) and width is not None and (grid := _grid(cells, width)):
        return np.arange(grid.rows + 1, dtype=np.int64) * grid.each, grid
    offsets, (items,) = collection_items(path, cells.scattered(), [width])
    return offsets, items


def _grid(cells: Strided, width: int) -> Grid | None:
    """The items, if all lists have the same number of them, and all of them `width` bytes."""
    step = INT_SIZE + width
    each, rest = divmod(cells.size - INT_SIZE, step)
    if each < 1 or rest:
        return None
    counts = np.ndarray((cells.count,), ">i4", cells.page, cells.first, (cells.stride,))
    first = cells.first + INT_SIZE
    shape, strides = (cells.count, each), (cells.stride, step)
    sizes = np.ndarray(shape, ">i4", cells.page, first, strides)
    if (counts != each).any() or (sizes != width).any():
        return None
    return Grid(cells.page, first + INT_SIZE, cells.stride, cells.count, step, each, width)


def collection_items(
    path: str, cells: Scattered, widths: Sequence[int | None]
) -> tuple[Offsets, list[Scattered]]:
    """For cells of lists (one width) or maps (two): at which item each starts and the last one
    ends, and the items, of all cells one after the other.

    Raises:
        ProtocolError: the bytes of a cell are no such collection.
    """
    there = cells.sizes >= 0
    at, sizes = cells.at[there], cells.sizes[there]
    if (sizes < INT_SIZE).any():
        raise _wrong(path)
    found = words(cells.page, at).astype(np.int64)
    least = INT_SIZE * len(widths)
    if ((found < 0) | (found * least > sizes - INT_SIZE)).any():
        raise _wrong(path)
    counts = np.zeros(cells.count, np.int64)
    counts[there] = found
    offsets = np.concatenate([[0], np.cumsum(counts)])
    items = (
        _packed(cells.page, at, sizes, found, widths)
        or _walked(cells.page, at, sizes, found, widths)
        or _walked(cells.page, at, sizes, found, [None] * len(widths))
    )
    if items is None:
        raise _wrong(path)
    return offsets, items


def _packed(
    page: Bytes, at: Offsets, sizes: Offsets, counts: Offsets, widths: Sequence[int | None]
) -> list[Scattered] | None:
    """The items, if all of them have the widths, told by the sizes of the collections."""
    stride = 0
    for each in widths:
        if each is None:
            return None
        stride += INT_SIZE + each
    if (sizes != INT_SIZE + counts * stride).any():
        return None
    first = np.cumsum(counts) - counts
    number = np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(first, counts)
    starts = np.repeat(at + INT_SIZE, counts) + number * stride
    found = fields(page, starts, len(widths))
    if found is None or (found[1] != starts + stride).any():
        return None
    items = found[0]
    exact = all(
        cells.all_have(each) for cells, each in zip(items, widths, strict=True) if each is not None
    )
    return items if exact else None


def _walked(
    page: Bytes, at: Offsets, sizes: Offsets, counts: Offsets, widths: Sequence[int | None]
) -> list[Scattered] | None:
    data = page.data
    pieces = [
        record_starts(data, start, count, widths)
        for start, count in zip((at + INT_SIZE).tolist(), counts.tolist(), strict=True)
    ]
    known = [piece for piece in pieces if piece is not None]
    if len(known) != len(pieces):
        return None
    starts = np.concatenate([np.empty(0, np.int64), *known])
    found = fields(page, starts, len(widths))
    if found is None:
        return None
    items, ends = found
    # Each item ends where the next one starts, and the last one where its collection does.
    expected = np.empty_like(ends)
    expected[:-1] = starts[1:]
    filled = counts > 0
    expected[np.cumsum(counts)[filled] - 1] = (at + sizes)[filled]
    if (ends != expected).any() or (sizes[~filled] != INT_SIZE).any():
        return None
    return items


def struct_fields(path: str, cells: Scattered, count: int) -> list[Scattered]:
    """The fields of tuples or user-defined types; those that a value ends before are null.

    Raises:
        ProtocolError: the bytes of a cell are no such value.
    """
    page = cells.page
    ends = cells.at + np.maximum(cells.sizes, 0)
    at = cells.at
    found: list[Scattered] = []
    for _ in range(count):
        there = at < ends
        if (at[there] + INT_SIZE > ends[there]).any():
            raise _wrong(path)
        sizes = np.full(cells.count, -1, np.int64)
        sizes[there] = np.maximum(words(page, at[there]), -1)
        first = np.where(there, at + INT_SIZE, at)
        at = first + np.maximum(sizes, 0)
        if (at > ends).any():
            raise _wrong(path)
        found.append(Scattered(page, first, sizes))
    if (at != ends).any():
        raise _wrong(path)
    return found


def vector_items(path: str, kind: VectorOf, cells: Scattered) -> Scattered:
    """The items of vectors whose items have their length in front, `kind.size` for each cell.

    Raises:
        ProtocolError: the bytes of a cell are no such vector.
    """
    data = cells.page.data
    starts: list[int] = []
    sizes: list[int] = []
    for start, size in zip(cells.at.tolist(), cells.sizes.tolist(), strict=True):
        if size < 0:
            starts += [start] * kind.size
            sizes += [-1] * kind.size
            continue
        at, end = start, start + size
        for _ in range(kind.size):
            try:
                length, at = unsigned_vint(data[:end], at)
            except IndexError:
                at = end + 1
                break
            starts.append(at)
            sizes.append(length)
            at += length
        if at != end:
            raise ProtocolError(f"{path}: {size} bytes are no {spell(kind)}")
    return Scattered(cells.page, np.array(starts, np.int64), np.array(sizes, np.int64))


def _wrong(path: str) -> ProtocolError:
    return ProtocolError(f"{path}: bytes that do not hold the values they should")
