"""Rows of a result become an Arrow record batch, one value after the other.

Slow and plain: what the quick way is tested against.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, TypeAlias

import pyarrow as pa

from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.columns.types import (
    HAS_EMPTY,
    Column,
    CqlType,
    ListOf,
    MapOf,
    Native,
    TupleOf,
    UserType,
    VectorOf,
    arrow_schema,
    arrow_type,
    packed_width,
    spell,
)
from insitu.databases.cassandra.columns.values import decode_value, unsigned_vint
from insitu.errors import ProtocolError, UnsupportedType

Cell: TypeAlias = memoryview | None
"""The bytes of a value; None for null."""

_INT: Final = struct.Struct(">i")


def general_batch(page: Page, columns: Sequence[Column]) -> pa.RecordBatch:
    """The rows of `page`.

    Raises:
        ProtocolError: the bytes are no rows of these columns.
        UnsupportedType: a value does not fit its Arrow type.
    """
    reader = _Reader("the page", page.data[page.start :])
    rows = [[reader.cell() for _ in columns] for _ in range(page.count)]
    reader.end()
    arrays = [
        decode_cells(column.name, column.type, [row[number] for row in rows])
        for number, column in enumerate(columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(columns))


def decode_cells(path: str, kind: CqlType, cells: Sequence[Cell]) -> pa.Array:
    """An array of the Arrow type of `kind`."""
    cells = [cell if cell or kind in HAS_EMPTY else None for cell in cells]
    missing = pa.array([cell is None for cell in cells], pa.bool_())
    match kind:
        case Native():
            return _natives(path, kind, cells)
        case ListOf(item):
            offsets, (items,) = _collections(path, cells, 1)
            values = decode_cells(f"{path}[]", item, items)
            return pa.ListArray.from_arrays(offsets, values, type=arrow_type(kind), mask=missing)
        case MapOf(key, item):
            offsets, (keys, items) = _collections(path, cells, 2)
            named = decode_cells(f"{path}.key", key, keys)
            if named.null_count:
                raise UnsupportedType(f"{path}.key", "a column of maps can't hold a null key")
            values = decode_cells(f"{path}.value", item, items)
            return pa.MapArray.from_arrays(
                offsets, named, values, type=arrow_type(kind), mask=missing
            )
        case TupleOf(kinds):
            fields = [(str(number), each) for number, each in enumerate(kinds)]
            return _structs(path, kind, fields, cells, missing)
        case UserType(_, named_fields):
            return _structs(path, kind, named_fields, cells, missing)
        case VectorOf():
            values = decode_cells(f"{path}[]", kind.item, _vector_items(path, kind, cells))
            return pa.FixedSizeListArray.from_arrays(values, type=arrow_type(kind), mask=missing)


def _natives(path: str, kind: Native, cells: Sequence[Cell]) -> pa.Array:
    values = [None if cell is None else decode_value(path, kind, cell) for cell in cells]
    final = arrow_type(kind)
    if isinstance(final, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(final, pa.array(values, final.storage_type))
    return pa.array(values, final)


def _collections(path: str, cells: Sequence[Cell], parts: int) -> tuple[pa.Array, list[list[Cell]]]:
    """Where each collection starts, and its items; `parts` are two for maps."""
    offsets = [0]
    found: list[list[Cell]] = [[] for _ in range(parts)]
    for cell in cells:
        if cell is not None:
            reader = _Reader(path, cell)
            for _ in range(reader.count()):
                for part in found:
                    part.append(reader.cell())
            reader.end()
        offsets.append(len(found[0]))
    return pa.array(offsets, pa.int32()), found


def _structs(
    path: str,
    kind: CqlType,
    fields: Sequence[tuple[str, CqlType]],
    cells: Sequence[Cell],
    missing: pa.Array,
) -> pa.Array:
    rows: list[list[Cell]] = []
    for cell in cells:
        row: list[Cell] = [None] * len(fields)
        if cell is not None:
            reader = _Reader(path, cell)
            for number in range(len(fields)):
                if reader.left:  # values from before a field was added end here
                    row[number] = reader.cell()
            reader.end()
        rows.append(row)
    arrays = [
        decode_cells(f"{path}.{name}", each, [row[number] for row in rows])
        for number, (name, each) in enumerate(fields)
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(arrow_type(kind)), mask=missing)


def _vector_items(path: str, kind: VectorOf, cells: Sequence[Cell]) -> list[Cell]:
    items: list[Cell] = []
    size = packed_width(kind.item)
    for cell in cells:
        if cell is None:
            items += [None] * kind.size
            continue
        at = 0
        for _ in range(kind.size):
            try:
                length, at = (size, at) if size is not None else unsigned_vint(cell, at)
            except IndexError:
                at = len(cell) + 1
                break
            items.append(cell[at : at + length])
            at += length
        if at != len(cell):
            raise ProtocolError(f"{path}: {len(cell)} bytes are no {spell(kind)}")
    return items


class _Reader:
    """Goes through the bytes of one value that holds others."""

    def __init__(self, path: str, data: memoryview) -> None:
        self._path = path
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def cell(self) -> Cell:
        size = self._int()
        if size < 0:
            return None
        start, self._at = self._at, self._at + size
        if self.left < 0:
            raise self._wrong()
        return self._data[start : self._at]

    def count(self) -> int:
        found = self._int()
        if not 0 <= found * _INT.size <= self.left:
            raise self._wrong()
        return found

    def end(self) -> None:
        if self.left:
            raise self._wrong()

    def _int(self) -> int:
        if self.left < _INT.size:
            raise self._wrong()
        (number,) = _INT.unpack_from(self._data, self._at)
        self._at += _INT.size
        return int(number)

    def _wrong(self) -> ProtocolError:
        return ProtocolError(
            f"{self._path}: {len(self._data)} bytes do not hold the values they should"
        )
