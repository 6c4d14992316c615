"""Where the rows of a page start, without decoding them.

Every value of a page tells its own size: its code does, or an int32 at a known place. So rows form
a chain, and each start is known only from the one before: a step a row, the one such loop here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.columns.gather import UNITS, WIDTHS, Bytes, Offsets, numbers

_INT: Final = struct.Struct("<i")
#: Bytes of a wrapped value around its payload: code, length, offset of the root.
_WRAPPING: Final = 9
#: Where the int32 that tells the size stands, counted from the code.
_COUNT_AT: Final = 1
_LENGTH_AT: Final = 12


def _tables() -> tuple[Offsets, Offsets, Offsets]:
    """By code: bytes that always come, bytes of each counted element, place of the count.

    A code without a fixed size of its own has 0 bytes: nothing is that small.
    """
    least = np.zeros(256, np.int64)
    unit = np.zeros(256, np.int64)
    place = np.full(256, _COUNT_AT, np.int64)
    least[Code.NULL] = 1
    for code, width in WIDTHS.items():
        least[code] = 1 + width
    for code, width in UNITS.items():
        least[code], unit[code] = 5, width
    least[Code.WRAPPED], unit[Code.WRAPPED] = _WRAPPING, 1
    least[Code.OBJECT], unit[Code.OBJECT], place[Code.OBJECT] = 0, 1, _LENGTH_AT
    return least, unit, place


_LEAST, _UNIT, _PLACE = _tables()
_SIZES: Final = tuple(zip(_LEAST.tolist(), _UNIT.tolist(), _PLACE.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Rows:
    """Offsets of the type codes of all keys and of all values; the last value ends at `end`."""

    keys: Offsets
    values: Offsets
    end: int


def sizes(page: Bytes, at: Offsets) -> Offsets:
    """Bytes of the values whose codes are at `at`, code included; at most 0 where unknown."""
    codes = page[at]
    unit = _UNIT[codes]
    counted = unit > 0
    last = page.size - 4
    counts = numbers(page, np.minimum(at + _PLACE[codes], last), "<i4").astype(np.int64)
    sized = np.where(counted, np.where(counts < 0, -(1 << 40), counts * unit), 0)
    return _LEAST[codes] + sized


def find_rows(page: memoryview, start: int, count: int) -> Rows | None:
    """The rows from `start` on; None where a value's size is known only to the general decoder."""
    return _short_steps(page, start, count) or _any_steps(page, start, count)


def size_at(page: memoryview, at: int) -> int:
    """Bytes of the value at `at`; 0 where unknown, or where it does not fit into the page."""
    if at >= len(page):
        return 0
    size, unit, place = _SIZES[page[at]]
    if unit:
        if at + place + 4 > len(page):
            return 0
        (counted,) = _INT.unpack_from(page, at + place)
        if counted < 0:
            return 0
        size += counted * unit
    return size if at + size <= len(page) else 0


def _any_steps(page: memoryview, start: int, count: int) -> Rows | None:
    at = start
    offsets = []
    for _ in range(2 * count):
        offsets.append(at)
        size = size_at(page, at)
        if not size:
            return None
        at += size
    both = np.array(offsets, np.int64).reshape(count, 2)
    return Rows(both[:, 0], both[:, 1], at)


def _short_steps(page: memoryview, start: int, count: int) -> Rows | None:
    """The same under the guess that all keys have one width and all values one code, as the first
    row has: one lookup a row, and the guess is checked afterwards, for all rows together.
    """
    key = size_at(page, start)
    if not key or page[start] in UNITS or not size_at(page, start + key):
        return None
    least, unit, place = _SIZES[page[start + key]]
    step, place = key + least, key + place
    if not unit or key + place > len(page):
        return None
    at = start
    offsets: list[int] = []
    append, unpack, last = offsets.append, _INT.unpack_from, len(page) - place - 4
    for _ in range(count):
        append(at)
        if not 0 <= at <= last:
            return None
        at += step + unit * unpack(page, at + place)[0]
    if not start < at <= len(page):
        return None
    keys = np.array(offsets, np.int64)
    values = keys + key
    data = np.frombuffer(page, np.uint8)
    if (np.diff(keys) < step).any() or (data[keys] != page[start]).any():
        return None
    if (data[values] != page[start + key]).any():
        return None
    return Rows(keys, values, at)
