"""Pages whose rows differ: in size, in nulls, in the schema of their objects.

Rows are found one after the other; fields through the footers of all objects at once.
"""

from __future__ import annotations

import numpy as np

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.columns.fields import Objects, find_objects, unwrapped
from insitu.databases.ignite.columns.gather import (
    Bytes,
    Located,
    Mask,
    Offsets,
    Scattered,
    head_size,
)
from insitu.databases.ignite.columns.layout import RowLayout
from insitu.databases.ignite.columns.rows import find_rows, sizes


def locate(
    page: memoryview, start: int, count: int, layout: RowLayout, types: BinaryTypes
) -> list[Located] | None:
    """Where the columns of the `count` rows from `start` on lie; None where the rows or one of the
    columns need the general decoder.

    Raises:
        ProtocolError: the cluster does not know the type or the schema of an object.
    """
    rows = find_rows(page, start, count)
    if rows is None:
        return None
    data = np.frombuffer(page, np.uint8)
    sides = {
        True: _Side(data, rows.keys, layout.key_type, types),
        False: _Side(data, rows.values, layout.value_type, types),
    }
    places = []
    for column in layout.columns:
        located = sides[column.of_key].find(column.field)
        if located is None:
            return None
        places.append(located)
    return places


class _Side:
    """The keys or the values of a page's rows, by the offsets of their codes."""

    def __init__(self, page: Bytes, at: Offsets, kind: int | None, types: BinaryTypes) -> None:
        self._page = page
        self._at = at
        self._kind = kind
        self._types = types
        self._objects: Objects | None = None

    def find(self, field: str | None) -> Located | None:
        if field is None:
            roots = unwrapped(self._page, self._at)
            return None if roots is None else _located(self._page, roots, None)
        if self._objects is None:
            self._objects = find_objects(self._page, self._at, self._kind, self._types)
        found = self._objects.field(self._page, field) if self._objects else None
        return None if found is None else _located(self._page, *found)


def _located(page: Bytes, at: Offsets, absent: Mask | None) -> Located | None:
    """The values whose codes are at `at`, if all that are there have the same code."""
    codes = page[at]
    missing = codes == Code.NULL
    if absent is not None:
        missing |= absent
    if missing.all():
        return Located(Code.NULL, None)
    code = int(codes[np.argmin(missing)])
    if ((codes != code) & ~missing).any():
        return None
    head = head_size(code)
    if not missing.any():
        return Located(code, Scattered(page, at + head, sizes(page, at) - head, None))
    # What is missing has no bytes; its offset only has to keep the order.
    start = np.where(missing, at, at + head)
    room = np.where(missing, 0, sizes(page, at) - head)
    return Located(code, Scattered(page, start, room, missing))
