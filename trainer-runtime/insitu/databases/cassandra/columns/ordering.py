"""The order in which servers keep the values of a clustering column.

Source: the comparators of `org.apache.cassandra.db.marshal` of Apache Cassandra 5.0.
"""

from __future__ import annotations

import decimal
import functools
import math
import struct
from typing import Any, Final, TypeAlias

from insitu.databases.cassandra.columns.types import (
    CqlType,
    ListOf,
    MapOf,
    Native,
    TupleOf,
    UserType,
    VectorOf,
    packed_width,
)
from insitu.databases.cassandra.columns.values import unsigned_vint

SortKey: TypeAlias = tuple[Any, ...]

_INT: Final = struct.Struct(">i")
_BY_BYTES: Final = frozenset(
    {Native.ASCII, Native.BLOB, Native.DATE, Native.INET, Native.TEXT, Native.TIME}
)
_FLOATS: Final = {Native.FLOAT: struct.Struct(">f"), Native.DOUBLE: struct.Struct(">d")}


@functools.total_ordering
class Descending:
    """Compares the other way round than the key it holds."""

    __slots__ = ("key",)

    def __init__(self, key: SortKey) -> None:
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and self.key == other.key

    def __lt__(self, other: Descending) -> bool:
        return other.key < self.key

    def __hash__(self) -> int:
        return hash(self.key)


def sort_key(kind: CqlType, data: bytes | None) -> SortKey:
    """What compares as the servers compare values of type `kind`: null first, then empty ones.

    `data` are the bytes of a value that a server gave.
    """
    if data is None:
        return ()
    return (1, _value(kind, data)) if data or kind in _BY_BYTES else (0,)


def _value(kind: CqlType, data: bytes) -> SortKey:
    match kind:
        case Native():
            return _native(kind, data)
        case ListOf(item):
            return tuple(sort_key(item, each) for each in _items(data, 1))
        case MapOf(key, item):
            found = _items(data, 2)
            pairs = zip(found[0::2], found[1::2], strict=True)
            return tuple((sort_key(key, name), sort_key(item, value)) for name, value in pairs)
        case TupleOf(kinds):
            return _fields(kinds, data)
        case UserType(_, fields):
            return _fields([each for _, each in fields], data)
        case VectorOf(item, size):
            return tuple(sort_key(item, each) for each in _vector(item, size, data))


def _native(kind: Native, data: bytes) -> SortKey:
    if kind in _BY_BYTES:
        return (data,)
    if kind in _FLOATS:
        (number,) = _FLOATS[kind].unpack(data)
        # As Float.compare: NaN is the largest, and -0.0 below 0.0.
        return (1,) if math.isnan(number) else (0, number, math.copysign(1.0, number))
    match kind:
        case Native.BOOLEAN:
            return (data[0] != 0,)
        case Native.DECIMAL:
            sign, digits, _ = decimal.Decimal(_integer(data[_INT.size :])).as_tuple()
            return (decimal.Decimal((sign, digits, -_INT.unpack_from(data)[0])),)
        case Native.TIMEUUID:
            # The bytes after the time are signed ones.
            return (_time_of(data), bytes(each ^ 0x80 for each in data[8:]))
        case Native.UUID:
            version = data[6] >> 4
            return (version, _time_of(data) if version == 1 else data[:8], data[8:])
    return (_integer(data),)


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _time_of(uuid: bytes) -> bytes:
    """The time in a UUID of version 1, highest bits first."""
    return uuid[6:8] + uuid[4:6] + uuid[0:4]


def _items(data: bytes, parts: int) -> list[bytes | None]:
    """The items of a collection; `parts` are two for maps."""
    found: list[bytes | None] = []
    at = _INT.size
    for _ in range(_INT.unpack_from(data)[0] * parts):
        value, at = _cell(data, at)
        found.append(value)
    return found


def _fields(kinds: tuple[CqlType, ...] | list[CqlType], data: bytes) -> SortKey:
    """A value that ends before its last fields compares as if they were null."""
    found: list[SortKey] = []
    at = 0
    for kind in kinds:
        value = None
        if at < len(data):
            value, at = _cell(data, at)
        found.append(sort_key(kind, value))
    return tuple(found)


def _vector(item: CqlType, size: int, data: bytes) -> list[bytes]:
    found: list[bytes] = []
    width, at = packed_width(item), 0
    for _ in range(size):
        length, at = (width, at) if width is not None else unsigned_vint(memoryview(data), at)
        found.append(data[at : at + length])
        at += length
    return found


def _cell(data: bytes, at: int) -> tuple[bytes | None, int]:
    (size,) = _INT.unpack_from(data, at)
    at += _INT.size
    return (None, at) if size < 0 else (data[at : at + size], at + size)
