"""The Arrow type that holds the values at a place of a table.

| Ignite | Arrow |
|---|---|
| byte, short, int, long | int8, int16, int32, int64 |
| float, double, bool | float32, float64, bool |
| char | string of one character (one without a meaning of its own raises) |
| string | string |
| byte[] | binary |
| short[] ... double[], bool[], char[] | list of the above |
| UUID | `arrow.uuid` (16 bytes, big endian) |
| date | timestamp[ms], UTC |
| timestamp | timestamp[ns], UTC (1677 to 2262; anything else raises) |
| time | time32[ms], UTC |
| decimal | decimal128(precision, scale), decimal256 above 38 digits; see `decimal_type` |
| enum | string, its name; int32, its ordinal, where the cluster does not list the names |
| object | struct of the fields of all its schemas; fields that a schema lacks are null |
| object[], enum[], string[] ..., all collections | list |
| map | map (a null key raises; keys are string until one was seen) |
| only nulls | null |

A value that does not fit its column raises `UnsupportedType` with its path, and so does whatever
has no single type: lists of mixed types, a field that holds objects of two types, a cycle, the raw
data of a Binarylizable. Fields added to a type after the schema was read are not in it. Dates and
times are instants on the wire, without a zone; a server writes SQL's DATE '2024-01-02' as midnight
in its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.columns.shape import (
    DecimalShape,
    EnumShape,
    ListShape,
    MapShape,
    Nothing,
    Plain,
    Shape,
    StructShape,
)

_LEAST_SCALE: Final = 9
_DECIMAL128_DIGITS: Final = 38
_DECIMAL256_DIGITS: Final = 76

_PLAIN_TYPES: Final[Mapping[Code, pa.DataType]] = MappingProxyType(
    {
        Code.BYTE: pa.int8(),
        Code.SHORT: pa.int16(),
        Code.INT: pa.int32(),
        Code.LONG: pa.int64(),
        Code.FLOAT: pa.float32(),
        Code.DOUBLE: pa.float64(),
        Code.CHAR: pa.string(),
        Code.BOOL: pa.bool_(),
        Code.STRING: pa.string(),
        Code.UUID: pa.uuid(),
        Code.DATE: pa.timestamp("ms"),
        Code.TIMESTAMP: pa.timestamp("ns"),
        Code.TIME: pa.time32("ms"),
        Code.BYTE_ARRAY: pa.binary(),
    }
)


def arrow_type(shape: Shape) -> pa.DataType:
    """The Arrow type of columns of `shape`, as the table above says."""
    match shape:
        case Nothing():
            return pa.null()
        case Plain(code):
            return _PLAIN_TYPES[code]
        case DecimalShape():
            return decimal_type(shape)
        case EnumShape(_, named):
            return pa.string() if named else pa.int32()
        case ListShape(item):
            return pa.list_(arrow_type(item))
        case MapShape(key, item):
            # Arrow has no maps with null keys, not even empty ones.
            keys = pa.string() if key == Nothing() else arrow_type(key)
            return pa.map_(keys, arrow_type(item))
        case StructShape(_, _, fields):
            return pa.struct([(name, arrow_type(field)) for name, field in fields])


def decimal_type(shape: DecimalShape) -> pa.DataType:
    """Precision and scale as declared; else 38 digits, at least 9 of them after the point, or 76
    when the sample needs more: rows outside of the sample may have more digits than those in it.
    """
    scale = shape.scale if shape.declared else max(shape.scale, _LEAST_SCALE)
    digits = shape.whole + scale
    if not shape.declared:
        narrow = digits <= _DECIMAL128_DIGITS
        digits = _DECIMAL128_DIGITS if narrow else _DECIMAL256_DIGITS
    kind = pa.decimal128 if digits <= _DECIMAL128_DIGITS else pa.decimal256
    return kind(digits, scale)
