"""Pages whose rows are all alike: same sizes, same types, same layout of each object.

The first row says where everything lies. All bytes of the other rows that say so too (codes,
counts, object headers, footers) are compared with the first row's; if none differs, each column
is a strided view of the page.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from insitu.databases.ignite.binary.codes import OBJECT_HEADER, Code
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.columns.fields import Objects, find_objects, unwrapped
from insitu.databases.ignite.columns.gather import Located, Strided, Table, head_size, numbers_of
from insitu.databases.ignite.columns.layout import RowLayout
from insitu.databases.ignite.columns.rows import find_rows, size_at

#: Bytes of one row, from the first up to the second.
_Stretch = tuple[int, int]


def locate(
    page: memoryview, start: int, count: int, layout: RowLayout, types: BinaryTypes
) -> list[Located] | None:
    """Where the columns of the `count` rows from `start` on lie; None if the rows are not alike.

    Raises:
        ProtocolError: the cluster does not know the type or the schema of an object.
    """
    first = find_rows(page, start, 1)
    if first is None:
        return None
    stride = first.end - start
    if start + count * stride > len(page):
        return None
    row = page[start : first.end]
    value = int(first.values[0]) - start
    sides = {
        True: _Side(row, 0, layout.key_type, types),
        False: _Side(row, value, layout.value_type, types),
    }
    places = []
    structure = {*_decisive(row, 0), *_decisive(row, value)}
    for column in layout.columns:
        found = sides[column.of_key].find(column.field)
        if found is None:
            return None
        places.append(found[0])
        structure.update(found[1])
    table = np.frombuffer(page, np.uint8, count * stride, start).reshape(count, stride)
    if not _alike(table, structure):
        return None
    return [_located(table, row, at) for at in places]


class _Side:
    """The key or the value of the first row."""

    def __init__(self, row: memoryview, at: int, kind: int | None, types: BinaryTypes) -> None:
        self._row = row
        self._end = at + size_at(row, at)
        self._data = np.frombuffer(row, np.uint8)
        self._at = np.array([at])
        self._kind = kind
        self._types = types
        self._objects: Objects | None = None

    def find(self, field: str | None) -> tuple[int | None, list[_Stretch]] | None:
        """The offset of the code of a value, None if an object lacks the field, and the stretches
        that decide it; None where only the general decoder can tell.
        """
        if field is None:
            roots = unwrapped(self._data, self._at)
            return None if roots is None else (int(roots[0]), _decisive(self._row, int(roots[0])))
        if self._objects is None:
            self._objects = find_objects(self._data, self._at, self._kind, self._types)
        found = self._objects.field(self._data, field) if self._objects else None
        if self._objects is None or found is None:
            return None
        root, footer = int(self._objects.at[0]), int(self._objects.footers[0])
        stretches = [*_decisive(self._row, root), (footer, self._end)]
        if found[1][0]:
            return None, stretches
        value = int(found[0][0])
        return value, [*stretches, *_decisive(self._row, value)]


def _decisive(row: memoryview, at: int) -> list[_Stretch]:
    """The bytes of the value at `at` that tell its type and its size."""
    code = row[at]
    if code == Code.OBJECT:  # all of its header but the hash
        return [(at, at + 8), (at + 12, at + OBJECT_HEADER)]
    if code == Code.WRAPPED:  # and, after the payload, where its root is
        end = at + size_at(row, at)
        return [(at, at + 5), (end - 4, end)]
    return [(at, at + head_size(code))]


def _alike(table: Table, stretches: Iterable[_Stretch]) -> bool:
    """Whether these bytes of all rows are those of the first one, compared word by word."""
    done = 0
    for low, high in sorted(stretches):
        at = max(low, done)
        while at < high:
            width = 1 << min(3, (high - at).bit_length() - 1)
            words = numbers_of(table, at, f"<u{width}")
            if (words != words[0]).any():
                return False
            at += width
        done = max(done, high)
    return True


def _located(table: Table, row: memoryview, at: int | None) -> Located:
    if at is None:
        return Located(Code.NULL, None)
    head = head_size(row[at])
    return Located(row[at], Strided(table, at + head, size_at(row, at) - head))
