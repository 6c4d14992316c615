"""Where the cells of a page's rows lie.

Rows of equal sizes are found at once: the first row says where every length stands, and all
others are compared with it. Otherwise each row has to be walked to find the next one; but only
over cells whose length nobody knows, and everything else is found for all rows together, column
by column, which proves the walk as well: a row's last cell has to end where the next row starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np

from insitu.databases.cassandra.columns.cells import (
    Bytes,
    Cells,
    Offsets,
    Scattered,
    Strided,
    words,
)
from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.columns.types import Column, width
from insitu.databases.cassandra.columns.walk import INT_SIZE, record_starts
from insitu.errors import ProtocolError


def locate(page: Page, columns: Sequence[Column]) -> list[Cells]:
    """The cells of each column; the page has at least one row.

    Raises:
        ProtocolError: the bytes are no rows of so many columns.
    """
    data = np.frombuffer(page.data, np.uint8)
    return (
        _alike(data, page, len(columns))
        or _walked(data, page, [width(column.type) for column in columns])
        # A value of a fixed width may be null or empty: then all lengths have to be looked at.
        or _walked(data, page, [None] * len(columns))
        or _refuse(page)
    )


def _alike(data: Bytes, page: Page, columns: int) -> list[Cells] | None:
    """The cells, if the length of each is that of the first row's."""
    places: list[tuple[int, int]] = []
    at = page.start
    for _ in range(columns):
        if at + INT_SIZE > len(data):
            return None
        size = int.from_bytes(page.data[at : at + INT_SIZE], "big", signed=True)
        places.append((at, size))
        at += INT_SIZE + max(size, 0)
    stride = at - page.start
    if page.start + page.count * stride != len(data):
        return None
    for place, _ in places:
        lengths = np.ndarray((page.count,), np.int32, data, place, (stride,))
        if (lengths != lengths[0]).any():
            return None
    return [
        Strided(data, place + INT_SIZE, stride, max(size, -1), page.count) for place, size in places
    ]


def _walked(data: Bytes, page: Page, widths: Sequence[int | None]) -> list[Cells] | None:
    """The cells, if all columns with a width have values of that width."""
    starts = record_starts(page.data, page.start, page.count, widths)
    if starts is None:
        return None
    found = fields(data, starts, len(widths))
    if found is None:
        return None
    cells, ends = found
    if ends[-1] != len(data) or (ends[:-1] != starts[1:]).any():
        return None
    return list(cells)


def fields(data: Bytes, starts: Offsets, count: int) -> tuple[list[Scattered], Offsets] | None:
    """`count` cells one after the other from each of `starts`, and where the last ones end.

    Returns:
        None where one would reach beyond the end of `data`.
    """
    cells: list[Scattered] = []
    at = starts
    for _ in repeat(None, count):
        if (at > data.size - INT_SIZE).any():
            return None
        sizes = words(data, at).astype(np.int64)
        first = at + INT_SIZE
        at = first + np.maximum(sizes, 0)
        cells.append(Scattered(data, first, np.maximum(sizes, -1)))
    return None if (at > data.size).any() else (cells, at)


def _refuse(page: Page) -> list[Cells]:
    raise ProtocolError(
        f"the page: {len(page.data) - page.start} bytes do not hold the values they should "
        f"({page.count} rows)"
    )
