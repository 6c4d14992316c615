"""How Arrow columns are stored: the CQL type of a new column, and the bytes of each value.

| Arrow | CQL |
|---|---|
| bool; int8 to int64; float16, float32; float64 | boolean; tinyint to bigint; float; double |
| uint8, uint16, uint32; uint64 | the next wider signed type; varint |
| string; binary; uuid | text; blob; uuid |
| date; time; timestamp | date; time; timestamp (ms: finer ones are refused) |
| decimal (of whole numbers); duration | decimal (varint); duration |
| fixed-size list; list; map | vector; frozen list; frozen map |
| dictionary | the type of its values |

Source of the encodings: section 6 of the native protocol's specification, version 4, and for
vectors section 5.25 of version 5.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt
from cassandra.cqltypes import DecimalType, DurationType, InetAddressType, IntegerType
from cassandra.util import Duration

from insitu.databases.cassandra.columns.types import (
    CqlType,
    ListOf,
    MapOf,
    Native,
    TupleOf,
    UserType,
    VectorOf,
    arrow_type,
    packed_width,
)
from insitu.errors import UnsupportedType

Value = bytes | None

_NEW: Final[Mapping[pa.DataType, str]] = MappingProxyType(
    {
        pa.bool_(): "boolean",
        pa.int8(): "tinyint",
        pa.int16(): "smallint",
        pa.int32(): "int",
        pa.int64(): "bigint",
        pa.uint8(): "smallint",
        pa.uint16(): "int",
        pa.uint32(): "bigint",
        pa.uint64(): "varint",
        pa.float16(): "float",
        pa.float32(): "float",
        pa.float64(): "double",
        pa.date32(): "date",
        pa.month_day_nano_interval(): "duration",
        pa.uuid(): "uuid",
    }
)

_NUMBERS: Final[Mapping[Native, str]] = MappingProxyType(
    {
        Native.TINYINT: ">i1",
        Native.SMALLINT: ">i2",
        Native.INT: ">i4",
        Native.BIGINT: ">i8",
        Native.COUNTER: ">i8",
        Native.FLOAT: ">f4",
        Native.DOUBLE: ">f8",
        Native.TIME: ">i8",
        Native.TIMESTAMP: ">i8",
    }
)
_EPOCH_DAY: Final = 1 << 31
_LENGTH: Final = struct.Struct(">i")
_PROTOCOL: Final = 4


def cql_type(path: str, kind: pa.DataType) -> str:
    """The CQL type for a new column of values of `kind`.

    Raises:
        UnsupportedType: CQL has nothing that keeps them.
    """
    if (plain := _NEW.get(kind)) is not None:
        return plain
    if pt.is_dictionary(kind):
        return cql_type(path, kind.value_type)
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return "text"
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return "blob"
    if pt.is_timestamp(kind):
        return "timestamp"
    if pt.is_time(kind):
        return "time"
    if pt.is_decimal(kind):
        return "decimal" if kind.scale else "varint"
    if pt.is_fixed_size_list(kind):
        return f"vector<{cql_type(path, kind.value_type)}, {kind.list_size}>"
    if pt.is_list(kind) or pt.is_large_list(kind):
        return f"frozen<list<{cql_type(path, kind.value_type)}>>"
    if pt.is_map(kind):
        return f"frozen<map<{cql_type(path, kind.key_type)}, {cql_type(path, kind.item_type)}>>"
    raise UnsupportedType(path, f"CQL has no type for {kind}; make it columns of their own")


def fitting(path: str, values: pa.Array, kind: CqlType) -> pa.Array:
    """`values` as the Arrow type that `kind` reads back as.

    Raises:
        UnsupportedType: they are of another kind, or one of them does not fit.
    """
    wanted = arrow_type(kind)
    if pt.is_dictionary(values.type):
        values = values.dictionary_decode()
    if values.type == wanted:
        return values
    if _family(values.type) != _family(wanted) and not pt.is_null(values.type):
        raise UnsupportedType(path, f"{values.type} does not fit the column, which takes {wanted}")
    if pt.is_timestamp(wanted) and pt.is_timestamp(values.type):
        wanted = pa.timestamp(wanted.unit, values.type.tz)
    try:
        return values.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        said = str(error).splitlines()[0]
        raise UnsupportedType(path, f"{values.type} does not fit the column: {said}") from error


def _family(kind: pa.DataType) -> object:
    """What types share whose values can be each other's: Arrow would even parse texts."""
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
        return "number"
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return "text"
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return "bytes"
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return "list", _family(kind.value_type)
    if pt.is_map(kind):
        return "map", _family(kind.key_type), _family(kind.item_type)
    if pt.is_dictionary(kind):
        return _family(kind.value_type)
    if pt.is_time(kind):
        return "time"
    return "date" if pt.is_date(kind) else kind.id


def encode(values: pa.Array, kind: CqlType) -> list[Value]:
    """The bytes of each value, None for a null; `values` come from `fitting`."""
    wide = _fixed(values, kind)
    if wide is None:
        write = _writer(kind)
        return [None if value is None else write(value) for value in values.to_pylist()]
    data, width = wide
    whole = [data[at : at + width] for at in range(0, len(values) * width, width)]
    if values.null_count:
        return [
            value if there else None
            for value, there in zip(whole, values.is_valid().to_pylist(), strict=True)
        ]
    return list(whole)


def _fixed(values: pa.Array, kind: CqlType) -> tuple[bytes, int] | None:
    """All values in a row and how wide each is, where all are as wide; nulls are anything."""
    if isinstance(kind, Native):
        if (dtype := _NUMBERS.get(kind)) is not None:
            return _numbers(values).astype(dtype).tobytes(), int(dtype[2])
        if kind is Native.DATE:
            days = _numbers(values).astype(np.int64) + _EPOCH_DAY
            return days.astype(">u4").tobytes(), 4
    elif isinstance(kind, VectorOf) and isinstance(kind.item, Native) and not values.null_count:
        dtype = _NUMBERS.get(kind.item)
        if dtype is not None and packed_width(kind.item) is not None:
            flat = values.flatten()
            if not flat.null_count:
                return _numbers(flat).astype(dtype).tobytes(), int(dtype[2]) * kind.size
    return None


def _numbers(values: pa.Array) -> npt.NDArray[Any]:
    whole = {1: pa.int8(), 2: pa.int16(), 4: pa.int32(), 8: pa.int64()}
    if pt.is_temporal(values.type):
        values = values.view(whole[values.type.bit_width // 8])
    if values.null_count:
        values = values.fill_null(0)
    return np.asarray(values)


def _writer(kind: CqlType) -> Callable[[Any], bytes]:
    """Encodes one Python value, as Arrow gives it."""
    match kind:
        case ListOf(item):
            each = _writer(item)
            return lambda values: (
                _LENGTH.pack(len(values)) + b"".join(_sized(each(value)) for value in values)
            )
        case MapOf(key, item):
            first, second = _writer(key), _writer(item)
            return lambda pairs: (
                _LENGTH.pack(len(pairs))
                + b"".join(_sized(first(name)) + _sized(second(value)) for name, value in pairs)
            )
        case VectorOf(item):
            each, packed = _writer(item), packed_width(item) is not None
            return lambda values: b"".join(each(v) if packed else _counted(each(v)) for v in values)
        case TupleOf(items):
            return _fields([(str(place), item) for place, item in enumerate(items)])
        case UserType(_, fields):
            return _fields(fields)
    return _NATIVE[kind]


def _fields(fields: Sequence[tuple[str, CqlType]]) -> Callable[[Any], bytes]:
    writers = [(name, _writer(kind)) for name, kind in fields]

    def write(values: Mapping[str, Any]) -> bytes:
        return b"".join(
            _LENGTH.pack(-1) if values[name] is None else _sized(each(values[name]))
            for name, each in writers
        )

    return write


def _sized(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _counted(data: bytes) -> bytes:
    """With its length as an unsigned variable-length integer in front."""
    size = len(data)
    for extra in range(9):
        if size < 1 << (7 * (extra + 1)) or extra == 8:
            prefix = (0xFF << (8 - extra)) & 0xFF
            whole = size.to_bytes(extra + 1, "big")
            return bytes([whole[0] | prefix]) + whole[1:] + data
    raise AssertionError(size)


def _number(code: str) -> Callable[[Any], bytes]:
    return struct.Struct(code).pack


def _millis(moment: datetime.datetime) -> bytes:
    epoch = datetime.datetime(1970, 1, 1, tzinfo=moment.tzinfo)
    return struct.pack(">q", (moment - epoch) // datetime.timedelta(milliseconds=1))


def _nanos(time: Any) -> bytes:
    whole = pa.scalar(time, pa.time64("ns")).value
    return struct.pack(">q", whole)


def _days(day: datetime.date) -> bytes:
    return struct.pack(">I", (day - datetime.date(1970, 1, 1)).days + _EPOCH_DAY)


def _duration(interval: Any) -> bytes:
    months, days, nanos = interval
    data: bytes = DurationType.serialize(Duration(months, days, nanos), _PROTOCOL)
    return data


_NATIVE: Final[Mapping[Native, Callable[[Any], bytes]]] = MappingProxyType(
    {
        Native.ASCII: str.encode,
        Native.TEXT: str.encode,
        Native.BLOB: bytes,
        Native.BOOLEAN: lambda value: b"\1" if value else b"\0",
        Native.TINYINT: _number(">b"),
        Native.SMALLINT: _number(">h"),
        Native.INT: _number(">i"),
        Native.BIGINT: _number(">q"),
        Native.COUNTER: _number(">q"),
        Native.FLOAT: _number(">f"),
        Native.DOUBLE: _number(">d"),
        Native.DATE: _days,
        Native.TIME: _nanos,
        Native.TIMESTAMP: _millis,
        Native.UUID: lambda value: bytes(value.bytes),
        Native.TIMEUUID: lambda value: bytes(value.bytes),
        Native.INET: lambda value: bytes(InetAddressType.serialize(value, _PROTOCOL)),
        Native.DECIMAL: lambda value: bytes(DecimalType.serialize(value, _PROTOCOL)),
        Native.VARINT: lambda value: bytes(IntegerType.serialize(int(value), _PROTOCOL)),
        Native.DURATION: _duration,
    }
)
