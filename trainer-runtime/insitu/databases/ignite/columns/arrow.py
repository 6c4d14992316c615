"""Decoded rows become Arrow record batches: the general way, and the oracle of the fast one.

Nothing is converted by guess: a value that is not of its column's type raises with its path.
"""

from __future__ import annotations

import decimal
import uuid
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.binary.encode import code_of
from insitu.databases.ignite.binary.values import (
    Array,
    BinaryObject,
    Char,
    Collection,
    Enum,
    Map,
    ObjectArray,
    Row,
    Value,
)
from insitu.databases.ignite.columns.arrow_types import decimal_type
from insitu.databases.ignite.columns.layout import Column, RowLayout
from insitu.databases.ignite.columns.shape import (
    DecimalShape,
    EnumShape,
    ListShape,
    MapShape,
    Nothing,
    Plain,
    Shape,
    StructShape,
    spell,
)
from insitu.errors import UnsupportedType

#: normalize() rounds to the precision of its context; this one is beyond any column.
_EXACT: Final = decimal.Context(prec=10_000, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX)
_MILLIS_PER_DAY: Final = 86_400_000


def rows_to_batch(rows: Sequence[Row], layout: RowLayout) -> pa.RecordBatch:
    """The columns of `layout`, filled from decoded rows.

    Raises:
        UnsupportedType: a value is not of its column's type or does not fit it; with its path.
    """
    arrays = [_column(rows, column, layout) for column in layout.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=layout.schema)


def _column(rows: Sequence[Row], column: Column, layout: RowLayout) -> pa.Array:
    parts = [row[0 if column.of_key else 1] for row in rows]
    values: list[Value]
    if column.field is None:
        values = parts
    else:
        type_id = layout.key_type if column.of_key else layout.value_type
        where = "key" if column.of_key else "val"
        values = [_field(part, column.field, type_id, where) for part in parts]
    plain = [_plain(value, column.shape, column.path) for value in values]
    storage = _storage(column.type)
    try:
        array = pa.array(plain, storage)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise UnsupportedType(
            column.path, f"a value does not fit {column.type}: {error}"
        ) from error
    return array if storage == column.type else array.cast(column.type)


def _field(part: Value, field: str, type_id: int | None, path: str) -> Value:
    if not isinstance(part, BinaryObject) or part.type_id != type_id:
        kind = part.type_name if isinstance(part, BinaryObject) else type(part).__name__
        raise UnsupportedType(path, f"a {kind} among objects of binary type {type_id}")
    _refuse_raw(part, path)
    return part.fields.get(field)


def _refuse_raw(value: BinaryObject, path: str) -> None:
    if value.raw:
        raise UnsupportedType(
            path, f"{value.type_name} holds raw data, which only its own Java class can read"
        )


def _storage(kind: pa.DataType) -> pa.DataType:
    """`kind` with plain bytes for UUIDs: Arrow builds nested extension types by a cast only."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    if pa.types.is_list(kind):
        return pa.list_(_storage(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(_storage(kind.key_type), _storage(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _storage(field.type)) for field in kind])
    return kind


def _plain(value: Value, shape: Shape, path: str) -> Any:
    """`value` as Arrow's own converter takes it, once it is known to be of `shape`."""
    match shape, value:
        case _, None:
            return None
        case Plain(code), _ if not isinstance(value, np.ndarray) and code == _code(value):
            return _scalar(value, path)
        case DecimalShape(), decimal.Decimal():
            _check_decimal(value, shape, path)
            return value
        case EnumShape(type_id, named), Enum() if type_id in (None, value.type_id):
            return _enum(value, named, path)
        case ListShape(Plain(code)), np.ndarray() if code.name + "_ARRAY" == code_of(value).name:
            return value
        case ListShape(item), Array() | ObjectArray() | Collection():
            return [_plain(v, item, f"{path}[{n}]") for n, v in enumerate(value.items)]
        case MapShape(), Map():
            return [_entry(entry, shape, n, path) for n, entry in enumerate(value.entries)]
        case StructShape(type_id, _, fields), BinaryObject() if type_id == value.type_id:
            return _struct(value, fields, path)
    raise UnsupportedType(path, _misfit(value, shape))


def _misfit(value: Value, shape: Shape) -> str:
    kind = value.type_name if isinstance(value, BinaryObject) else type(value).__name__
    if isinstance(shape, Nothing):
        return f"a {kind} where the metadata and the sample of rows said nothing but null"
    return f"a {kind} in a column of {spell(shape)}"


def _code(value: Value) -> Code | None:
    return None if isinstance(value, Array | ObjectArray) else code_of(value)


def _scalar(value: Value, path: str) -> Any:
    if isinstance(value, Char):
        if 0xD800 <= value.unit <= 0xDFFF:
            raise UnsupportedType(path, "half of a surrogate pair is no character")
        return chr(value.unit)
    if isinstance(value, uuid.UUID):
        return value.bytes
    if isinstance(value, np.timedelta64):
        # A server east of Greenwich writes midnight as an instant of the day before.
        return int(value.astype(np.int64)) % _MILLIS_PER_DAY
    return value


def _check_decimal(value: decimal.Decimal, shape: DecimalShape, path: str) -> None:
    kind = decimal_type(shape)
    _, digits, exponent = value.normalize(_EXACT).as_tuple()
    assert isinstance(exponent, int)
    if value and (-exponent > kind.scale or len(digits) + exponent > kind.precision - kind.scale):
        raise UnsupportedType(path, f"{value} does not fit {kind}; declare its digits in SQL")


def _enum(value: Enum, named: bool, path: str) -> str | int:
    if not named:
        return value.ordinal
    if value.name is None:
        raise UnsupportedType(
            path, f"enum {value.type_id} has no name for its ordinal {value.ordinal}"
        )
    return value.name


def _entry(entry: tuple[Value, Value], shape: MapShape, number: int, path: str) -> tuple[Any, Any]:
    key, item = entry
    if key is None:
        raise UnsupportedType(f"{path}.key[{number}]", "a column of maps can't hold a null key")
    return (
        _plain(key, shape.key, f"{path}.key[{number}]"),
        _plain(item, shape.item, f"{path}.value[{number}]"),
    )


def _struct(value: BinaryObject, fields: Sequence[tuple[str, Shape]], path: str) -> dict[str, Any]:
    _refuse_raw(value, path)
    return {name: _plain(value.fields.get(name), shape, f"{path}.{name}") for name, shape in fields}
