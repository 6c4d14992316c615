"""Rows as Cassandra sends them: any type, any values, with nulls and empties where it has them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hypothesis import strategies as st

from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.columns.types import (
    HAS_EMPTY,
    WIDTHS,
    Column,
    CqlType,
    ListOf,
    MapOf,
    Native,
    TupleOf,
    UserType,
    VectorOf,
    packed_width,
)
from insitu.databases.cassandra.columns.values import NANOS_PER_DAY

INT = struct.Struct(">i")
Cell = bytes | None


def cell(value: Cell) -> bytes:
    return INT.pack(-1) if value is None else INT.pack(len(value)) + value


def page(rows: Sequence[Sequence[Cell]], before: bytes = b"") -> Page:
    body = before + b"".join(cell(value) for row in rows for value in row)
    return Page(memoryview(body), len(before), len(rows))


def vint(number: int) -> bytes:
    """Cassandra's unsigned variable-length integer."""
    extra = min((max(number.bit_length(), 1) - 1) // 7, 8)
    if extra == 8:
        return b"\xff" + number.to_bytes(8, "big")
    head = (0xFF << (8 - extra)) & 0xFF
    raw = bytearray(number.to_bytes(extra + 1, "big"))
    raw[0] |= head
    return bytes(raw)


def zigzag(number: int) -> int:
    return (number << 1) ^ (number >> 63)


def _signed(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


_VARINTS = st.integers(-(10**38) + 1, 10**38 - 1).map(_signed)
_DECIMALS = st.builds(
    lambda number, scale: INT.pack(scale) + _signed(number),
    st.integers(-(10**20) + 1, 10**20 - 1),
    st.integers(0, 18),
)
_DURATIONS = st.builds(
    lambda months, days, nanos: b"".join(vint(zigzag(part)) for part in (months, days, nanos)),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(-(1 << 63), (1 << 63) - 1),
)


def native_bytes(kind: Native) -> st.SearchStrategy[bytes]:
    if kind is Native.TIME:
        return st.integers(0, NANOS_PER_DAY - 1).map(lambda nanos: nanos.to_bytes(8, "big"))
    if kind in WIDTHS:
        return st.binary(min_size=WIDTHS[kind], max_size=WIDTHS[kind])
    match kind:
        case Native.BLOB:
            return st.binary(max_size=9)
        case Native.TEXT:
            return st.text(max_size=5).map(str.encode)
        case Native.ASCII:
            return st.text(st.characters(codec="ascii"), max_size=5).map(str.encode)
        case Native.VARINT:
            return _VARINTS
        case Native.DECIMAL:
            return _DECIMALS
        case Native.DURATION:
            return _DURATIONS
        case _:
            return st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))


def value_bytes(kind: CqlType) -> st.SearchStrategy[bytes]:
    """The bytes of a value of `kind` that is not null."""
    match kind:
        case Native():
            return native_bytes(kind)
        case ListOf(item):
            items = st.lists(cells(item), max_size=3)
            return items.map(lambda found: INT.pack(len(found)) + b"".join(map(cell, found)))
        case MapOf(key, item):
            entries = st.lists(st.tuples(value_bytes(key), cells(item)), max_size=3)
            return entries.map(
                lambda found: INT.pack(len(found)) + b"".join(cell(k) + cell(v) for k, v in found)
            )
        case TupleOf(items):
            return _fields(items)
        case UserType(_, fields):
            return _fields([each for _, each in fields])
        case VectorOf(item, size):
            vector = st.lists(value_bytes(item), min_size=size, max_size=size)
            if packed_width(item) is not None:
                return vector.map(b"".join)
            return vector.map(lambda found: b"".join(vint(len(each)) + each for each in found))


def _fields(kinds: Sequence[CqlType]) -> st.SearchStrategy[bytes]:
    whole = st.tuples(*(cells(each) for each in kinds))
    return st.builds(
        lambda found, kept: b"".join(cell(each) for each in found[:kept]) or cell(found[0]),
        whole,
        st.sampled_from([len(kinds), len(kinds), max(len(kinds) - 1, 1)]),
    )


def cells(kind: CqlType) -> st.SearchStrategy[Cell]:
    """A value, mostly; sometimes null, or no bytes at all."""
    return st.one_of(value_bytes(kind), value_bytes(kind), st.none(), st.just(b""))


def _has_no_null_keys(kind: CqlType) -> bool:
    return isinstance(kind, Native) and (kind in HAS_EMPTY or kind in WIDTHS)


NATIVES = st.sampled_from(list(Native))
KEYS = NATIVES.filter(_has_no_null_keys)
_VECTORS = st.builds(VectorOf, st.sampled_from([Native.FLOAT, Native.INT]), st.integers(1, 4))


def _nested(inner: st.SearchStrategy[CqlType]) -> st.SearchStrategy[CqlType]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(ListOf, inner),
        st.builds(MapOf, KEYS, inner),
        several.map(lambda kinds: TupleOf(tuple(kinds))),
        several.map(
            lambda kinds: UserType("t", tuple((f"f{n}", kind) for n, kind in enumerate(kinds)))
        ),
        st.builds(VectorOf, inner, st.integers(1, 3)),
    )


TYPES: st.SearchStrategy[CqlType] = st.recursive(
    st.one_of(NATIVES, _VECTORS), _nested, max_leaves=4
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[tuple[Column, ...], Page]:
    """Columns, and a page of their rows: with nulls, without, or with all rows alike."""
    kinds = draw(st.lists(TYPES, min_size=1, max_size=4))
    columns = tuple(Column(f"c{number}", kind) for number, kind in enumerate(kinds))
    with_nulls = draw(st.booleans())
    each = [cells(kind) if with_nulls else value_bytes(kind) for kind in kinds]
    rows: list[tuple[Cell, ...]] = draw(st.lists(st.tuples(*each), max_size=6))
    alike = draw(st.booleans())
    if alike:
        rows = rows[:1] * len(rows)
    return columns, page(rows, draw(st.binary(max_size=9)))
