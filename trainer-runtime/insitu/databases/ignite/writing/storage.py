"""How Arrow columns are stored: their SQL type, and the wire type of each value.

| Arrow | SQL column | value |
|---|---|---|
| bool; int8 to int64; float16, float32, float64 | BOOLEAN; TINYINT to BIGINT; REAL, DOUBLE | same |
| uint8, uint16, uint32; uint64 | the next wider signed type; BIGINT | values must fit |
| string; binary | VARCHAR; VARBINARY | string; byte[] |
| decimal; date; time; timestamp | DECIMAL; DATE; TIME (ms); TIMESTAMP (ns, UTC) | same |
| uuid | UUID | UUID |
| list of bool, int16 to int64, float32, float64 | OTHER | boolean[], short[] to double[] |
| list of int8 or uint8 | VARBINARY | byte[]: reads back as binary |
| list of string | OTHER | string[] |

SQL has no arrays, but a column of type OTHER takes any value, and the server keeps it as it comes:
a list is one primitive array, which is read back without looking at its elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.types as pt

from insitu.databases.ignite.binary.codes import Code
from insitu.errors import UnsupportedType


@dataclass(frozen=True, slots=True)
class Storage:
    """One column's. `arrow` is what values are cast to, safely, before they are encoded."""

    sql: str
    code: Code
    arrow: pa.DataType


_SCALARS: Final[Mapping[pa.DataType, Storage]] = MappingProxyType(
    {
        pa.bool_(): Storage("BOOLEAN", Code.BOOL, pa.bool_()),
        pa.int8(): Storage("TINYINT", Code.BYTE, pa.int8()),
        pa.int16(): Storage("SMALLINT", Code.SHORT, pa.int16()),
        pa.int32(): Storage("INT", Code.INT, pa.int32()),
        pa.int64(): Storage("BIGINT", Code.LONG, pa.int64()),
        pa.float32(): Storage("REAL", Code.FLOAT, pa.float32()),
        pa.float64(): Storage("DOUBLE", Code.DOUBLE, pa.float64()),
    }
)

_WIDENED: Final[Mapping[pa.DataType, pa.DataType]] = MappingProxyType(
    {
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.int64(),
        pa.float16(): pa.float32(),
    }
)

_LISTS: Final[Mapping[pa.DataType, Code]] = MappingProxyType(
    {
        pa.bool_(): Code.BOOL_ARRAY,
        pa.int16(): Code.SHORT_ARRAY,
        pa.int32(): Code.INT_ARRAY,
        pa.int64(): Code.LONG_ARRAY,
        pa.float32(): Code.FLOAT_ARRAY,
        pa.float64(): Code.DOUBLE_ARRAY,
        pa.string(): Code.STRING_ARRAY,
    }
)

_BYTES: Final = Storage("VARBINARY", Code.BYTE_ARRAY, pa.binary())

#: Java classes of SYS.TABLE_COLUMNS, for tables that exist already.
_JAVA: Final[Mapping[str, pa.DataType]] = MappingProxyType(
    {
        "java.lang.Boolean": pa.bool_(),
        "java.lang.Byte": pa.int8(),
        "java.lang.Short": pa.int16(),
        "java.lang.Integer": pa.int32(),
        "java.lang.Long": pa.int64(),
        "java.lang.Float": pa.float32(),
        "java.lang.Double": pa.float64(),
        "java.lang.String": pa.string(),
        "[B": pa.binary(),
        "java.sql.Date": pa.date32(),
        "java.sql.Time": pa.time32("ms"),
        "java.sql.Timestamp": pa.timestamp("ns"),
        "java.util.UUID": pa.uuid(),
    }
)


def storage_of(name: str, arrow: pa.DataType) -> Storage:
    """How a column `name` of that type is stored.

    Raises:
        UnsupportedType: Ignite has nothing that keeps its values.
    """
    if pt.is_dictionary(arrow):
        arrow = arrow.value_type
    arrow = _WIDENED.get(arrow, arrow)
    if (scalar := _SCALARS.get(arrow)) is not None:
        return scalar
    if pt.is_string(arrow) or pt.is_large_string(arrow) or pt.is_string_view(arrow):
        return Storage("VARCHAR", Code.STRING, pa.large_string())
    if arrow == pa.uuid():
        return Storage("UUID", Code.UUID, pa.uuid())
    if _is_bytes(arrow):
        return _BYTES
    if pt.is_decimal(arrow):
        sql = f"DECIMAL({arrow.precision}, {arrow.scale})"
        return Storage(sql, Code.DECIMAL, arrow)
    if pt.is_date(arrow):
        return Storage("DATE", Code.DATE, pa.date64())
    if pt.is_time(arrow):
        return Storage("TIME", Code.TIME, pa.time32("ms"))
    if pt.is_timestamp(arrow):
        return Storage("TIMESTAMP", Code.TIMESTAMP, pa.timestamp("ns", arrow.tz))
    if pt.is_list(arrow) or pt.is_large_list(arrow) or pt.is_fixed_size_list(arrow):
        return _list_storage(name, arrow.value_type)
    raise UnsupportedType(
        name, f"a column of Arrow type {arrow} can't be stored in Ignite; flatten or drop it"
    )


def stored_as(name: str, java: str, precision: int, scale: int, arrow: pa.DataType) -> Storage:
    """How a column of type `arrow` goes into an existing SQL column of class `java`.

    Raises:
        UnsupportedType: it can't: a list into a number, for instance.
    """
    natural = storage_of(name, arrow)
    if java == "[B" and natural.code is Code.BYTE_ARRAY:
        return natural
    if java == "java.math.BigDecimal":
        if natural.code is Code.DECIMAL and scale < 0:
            return natural
        wanted = pa.decimal128(min(precision, 38), scale) if scale >= 0 else pa.decimal128(38, 9)
        return storage_of(name, wanted)
    return storage_of(name, _JAVA[java]) if java in _JAVA else natural


def _list_storage(name: str, items: pa.DataType) -> Storage:
    if items in (pa.int8(), pa.uint8()):
        return Storage("VARBINARY", Code.BYTE_ARRAY, pa.large_list(items))
    items = _WIDENED.get(items, items)
    if pt.is_large_string(items):
        items = pa.string()
    code = _LISTS.get(items)
    if code is None:
        raise UnsupportedType(
            f"{name}[]", f"a list of Arrow type {items} can't be stored in Ignite; flatten it"
        )
    return Storage("OTHER", code, pa.large_list(items))


def _is_bytes(arrow: pa.DataType) -> bool:
    return bool(
        pt.is_binary(arrow)
        or pt.is_large_binary(arrow)
        or pt.is_fixed_size_binary(arrow)
        or pt.is_binary_view(arrow)
    )
