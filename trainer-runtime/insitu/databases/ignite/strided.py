"""Pages whose rows are all alike: same sizes, same types, same layout of each object.

The first row says where everything lies. All bytes of the other rows that say so too (codes,
counts, object headers, footers) are compared with the first row's; if none differs, each column
is a strided view of the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from insitu.databases.ignite.codes import OBJECT_HEADER, Code
from insitu.databases.ignite.fields import find_objects, unwrapped
from insitu.databases.ignite.gather import Located, Strided, Table, column, head_size
from insitu.databases.ignite.layout import Column
from insitu.databases.ignite.metadata import BinaryTypes
from insitu.databases.ignite.rows import find_rows, size_at

#: Bytes of one row, from the first up to the second.
_Stretch = tuple[int, int]


def locate(
    page: memoryview, start: int, count: int, wanted: Sequence[Column], types: BinaryTypes
) -> list[Located] | None:
    """Where the `wanted` values of `count` rows from `start` on lie; None if rows are not alike.

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
    sides = {True: 0, False: int(first.values[0]) - start}
    structure = {stretch for at in sides.values() for stretch in _decisive(row, at)}
    places = []
    for each in wanted:
        found = _find(row, sides[each.of_key], each.field, types)
        if found is None:
            return None
        places.append(found[0])
        structure.update(found[1])
    table = np.frombuffer(page, np.uint8, count * stride, start).reshape(count, stride)
    if not _alike(table, structure):
        return None
    return [_located(table, row, at) for at in places]


def _find(
    row: memoryview, side: int, field: str | None, types: BinaryTypes
) -> tuple[int | None, list[_Stretch]] | None:
    """Where in its row the code of a value is, None if an object lacks the field, and the stretches
    that decide it; None where only the general decoder can tell.
    """
    data, at = np.frombuffer(row, np.uint8), np.array([side])
    if field is None:
        roots = unwrapped(data, at)
        return None if roots is None else (int(roots[0]), _decisive(row, int(roots[0])))
    objects = find_objects(data, at, types)
    located = objects.field(data, field) if objects else None
    if objects is None or located is None:
        return None
    root, footer = int(objects.at[0]), int(objects.footers[0])
    stretches = [*_decisive(row, root), (footer, side + size_at(row, side))]
    if located[1][0]:
        return None, stretches
    value = int(located[0][0])
    return value, [*stretches, *_decisive(row, value)]


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
            words = column(table, at, f"<u{width}")
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
