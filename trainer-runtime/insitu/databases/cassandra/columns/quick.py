"""Pages become Arrow columns by compiled loops, with no Python step for a value.

What remains in Python: the walk over rows and items of unknown length (see `walk`), and values of
the rare types `decimal`, `varint`, `duration` and `inet`. Tested against `general`, which it
equals on every page, errors included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from insitu.columns import empty_batch
from insitu.databases.cassandra.columns.cells import Cells, Mask
from insitu.databases.cassandra.columns.nested import (
    collection_items,
    list_items,
    struct_fields,
    vector_items,
)
from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.columns.rows import locate
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
    arrow_schema,
    arrow_type,
    spell,
    width,
)
from insitu.databases.cassandra.columns.values import NANOS_PER_DAY, decode_value
from insitu.errors import ProtocolError, UnsupportedType

#: Bytes of a value from which on a batch of its own costs less than a copy.
LARGE: Final = 1 << 17


def quick_batch(page: Page, columns: Sequence[Column]) -> pa.RecordBatch:
    """The rows of `page`.

    Raises:
        ProtocolError: the bytes are no rows of these columns.
        UnsupportedType: a value does not fit its Arrow type.
    """
    if page.count:
        return batch_of(columns, locate(page, columns))
    if len(page.data) != page.start:
        raise ProtocolError("the page: a page without rows has bytes of rows")
    return empty_batch(arrow_schema(columns))


def batch_of(columns: Sequence[Column], located: Sequence[Cells]) -> pa.RecordBatch:
    """Rows whose cells are known, of one row at least. Raises as `quick_batch` does."""
    pairs = zip(columns, located, strict=True)
    arrays = [gather(column.name, column.type, cells) for column, cells in pairs]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(columns))


def batches_of(
    columns: Sequence[Column], located: Sequence[Cells], large: int = LARGE
) -> list[pa.RecordBatch]:
    """The same in one batch; or in one for each row, where blobs of a column are `large` bytes.

    Arrow wants the values of a column side by side, and on a page their lengths stand in between.
    A single row has nothing beside it: its large blobs stay where they were received. Raises as
    `quick_batch` does.
    """
    pairs = list(zip(columns, located, strict=True))
    if not any(_are_large(column, cells, large) for column, cells in pairs):
        return [batch_of(columns, located)]
    # Rows and the gaps between them in turn, as a page is laid out; nobody sees the gaps.
    places = pa.array(np.arange(2 * located[0].count - 1) // 2)
    arrays = [
        cells.laid_out()
        if _are_large(column, cells, large)
        else gather(column.name, column.type, cells).take(places)
        for column, cells in pairs
    ]
    both = pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(columns))
    return [both.slice(place, 1) for place in range(0, both.num_rows, 2)]


def _are_large(column: Column, cells: Cells, large: int) -> bool:
    """On average."""
    return column.type is Native.BLOB and cells.total >= large * cells.count


def gather(path: str, kind: CqlType, cells: Cells) -> pa.Array:
    """An array of the Arrow type of `kind`."""
    if kind not in HAS_EMPTY:
        cells = cells.without_empty()
    match kind:
        case Native():
            return _natives(path, kind, cells)
        case ListOf(item):
            offsets, items = list_items(path, cells, width(item))
            values = gather(f"{path}[]", item, items)
            return pa.ListArray.from_arrays(
                offsets.astype(np.int32), values, type=arrow_type(kind), mask=_mask(cells)
            )
        case MapOf(key, item):
            widths = [width(key), width(item)]
            offsets, (keys, items) = collection_items(path, cells.scattered(), widths)
            named = gather(f"{path}.key", key, keys)
            if named.null_count:
                raise UnsupportedType(f"{path}.key", "a column of maps can't hold a null key")
            values = gather(f"{path}.value", item, items)
            return pa.MapArray.from_arrays(
                offsets.astype(np.int32), named, values, type=arrow_type(kind), mask=_mask(cells)
            )
        case TupleOf(kinds):
            fields = [(str(number), each) for number, each in enumerate(kinds)]
            return _structs(path, kind, fields, cells)
        case UserType(_, named_fields):
            return _structs(path, kind, named_fields, cells)
        case VectorOf():
            return _vectors(path, kind, cells)


def _natives(path: str, kind: Native, cells: Cells) -> pa.Array:
    if kind in WIDTHS:
        if not cells.all_have(WIDTHS[kind]):
            raise ProtocolError(f"{path}: a {kind.value} without its {WIDTHS[kind]} bytes")
        return _fixed(path, kind, cells, 1, cells.missing)
    if kind in HAS_EMPTY:
        return _blobs(path, kind, cells.blobs())
    found = cells.scattered()
    data = found.page.data
    places = zip(found.at.tolist(), found.sizes.tolist(), strict=True)
    values = [
        None if size < 0 else decode_value(path, kind, data[at : at + size]) for at, size in places
    ]
    return pa.array(values, arrow_type(kind))


def _blobs(path: str, kind: Native, blobs: pa.Array) -> pa.Array:
    if kind is Native.BLOB:
        return blobs
    try:
        return blobs.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise ProtocolError(f"{path}: a text that is not UTF-8") from error


def _structs(
    path: str, kind: CqlType, fields: Sequence[tuple[str, CqlType]], cells: Cells
) -> pa.Array:
    located = struct_fields(path, cells.scattered(), len(fields))
    arrays = [
        gather(f"{path}.{name}", each, found)
        for (name, each), found in zip(fields, located, strict=True)
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(arrow_type(kind)), mask=_mask(cells))


def _vectors(path: str, kind: VectorOf, cells: Cells) -> pa.Array:
    size = width(kind)
    if size is None:
        values = gather(f"{path}[]", kind.item, vector_items(path, kind, cells.scattered()))
        return pa.FixedSizeListArray.from_arrays(values, type=arrow_type(kind), mask=_mask(cells))
    if not cells.all_have(size):
        raise ProtocolError(f"{path}: bytes that are no {spell(kind)}")
    leaf: CqlType = kind
    levels: list[VectorOf] = []
    while isinstance(leaf, VectorOf):
        levels.append(leaf)
        leaf = leaf.item
    assert isinstance(leaf, Native)
    values = _fixed(path, leaf, cells, size // WIDTHS[leaf], None)
    for level in reversed(levels[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, type=arrow_type(level))
    return pa.FixedSizeListArray.from_arrays(values, type=arrow_type(kind), mask=_mask(cells))


def _fixed(path: str, kind: Native, cells: Cells, each: int, missing: Mask | None) -> pa.Array:
    """`each` values of `kind` from every cell, one after the other."""
    found = cells.numbers(_DTYPES[kind], each)
    final = arrow_type(kind)
    if isinstance(final, pa.BaseExtensionType):
        buffers = [None, pa.py_buffer(found)]
        plain = pa.Array.from_buffers(final.storage_type, found.size, buffers)
        if missing is not None:
            plain = pc.if_else(pa.array(missing), None, plain)
        return pa.ExtensionArray.from_storage(final, plain)
    if kind is Native.TIME and ((found < 0) | (found >= NANOS_PER_DAY)).any():
        raise ProtocolError(f"{path}: a time that is not within a day")
    turned = _TURNED.get(kind)
    if turned is not None:
        found = turned(found)
    return pa.array(found, mask=missing).view(final)


def _mask(cells: Cells) -> pa.Array | None:
    missing = cells.missing
    return None if missing is None else pa.array(missing)


#: What stands on the wire.
_DTYPES: Final[Mapping[Native, str]] = MappingProxyType(
    {
        Native.BIGINT: ">i8",
        Native.BOOLEAN: "u1",
        Native.COUNTER: ">i8",
        Native.DATE: ">u4",
        Native.DOUBLE: ">f8",
        Native.FLOAT: ">f4",
        Native.INT: ">i4",
        Native.SMALLINT: ">i2",
        Native.TIME: ">i8",
        Native.TIMESTAMP: ">i8",
        Native.TIMEUUID: "V16",
        Native.TINYINT: "i1",
        Native.UUID: "V16",
    }
)

_TURNED: Final[Mapping[Native, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]]] = MappingProxyType(
    {
        Native.BOOLEAN: lambda found: found != 0,
        # Day 2**31 is 1970-01-01.
        Native.DATE: lambda found: (found ^ np.uint32(1 << 31)).view(np.int32),
    }
)
