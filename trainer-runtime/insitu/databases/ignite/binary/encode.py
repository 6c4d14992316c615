"""The general encoder: what `binary` decodes, written the way Ignite's own clients write it.

Source: Apache Ignite documentation, "Binary Client Protocol: Data Format".
"""

from __future__ import annotations

import decimal
import struct
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from insitu.databases.ignite.binary.codes import (
    ARRAY_DTYPES,
    OBJECT_HEADER,
    REFERENCE_ARRAYS,
    Code,
    Flag,
)
from insitu.databases.ignite.binary.hashes import bytes_hash, field_id, schema_id
from insitu.databases.ignite.binary.leaves import SQL_DATE
from insitu.databases.ignite.binary.objects import HEADER
from insitu.databases.ignite.binary.values import (
    Array,
    BinaryObject,
    Char,
    Collection,
    Enum,
    Map,
    ObjectArray,
    Value,
)
from insitu.errors import UnsupportedType

#: Append what follows the type code of one value.
_Leaf: TypeAlias = Callable[[bytearray, Any], None]
_Nested: TypeAlias = Callable[[bytearray, Any, str], None]

_NANOS_PER_MILLI: Final = 1_000_000


def write_value(out: bytearray, value: Value | int | float, path: str = "val") -> None:
    """Appends `value` with its type code; `path` is what errors call it.

    Besides the types of `values`, a plain `int` is written as a long and a `float` as a double.

    Raises:
        UnsupportedType: there is no such type in Ignite, or the value does not fit it.
    """
    if value is None:
        out.append(Code.NULL)
    else:
        write_as(out, code_of(value, path), value, path)


def write_as(out: bytearray, code: Code, value: Any, path: str = "val") -> None:
    """Appends `value` as the type `code`, which also takes Python's plain numbers; raises so too.

    None is always a null.
    """
    if value is None:
        out.append(Code.NULL)
        return
    out.append(code)
    if code in _NESTED:
        _NESTED[code](out, value, path)
        return
    try:
        _LEAVES[code](out, value)
    except (struct.error, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise UnsupportedType(path, f"{value!r} does not fit {code.name}: {error}") from error


def code_of(value: Any, path: str = "val") -> Code:
    """The type code of a value, by its Python type. Raises `UnsupportedType`."""
    code = _CODES.get(type(value))
    if code is not None:
        return code
    if isinstance(value, Array | ObjectArray):
        return value.code
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.str in _ARRAYS:
        return _ARRAYS[value.dtype.str]
    if isinstance(value, np.datetime64) and value.dtype.str in _INSTANTS:
        return _INSTANTS[value.dtype.str]
    raise UnsupportedType(path, f"Ignite has no type for Python's {type(value).__name__}")


def object_hash(value: BinaryObject) -> int:
    """The hash code in the header of `value`: by it, and its bytes, Ignite finds a complex key."""
    out = bytearray()
    write_value(out, value, "key")
    return int(HEADER.unpack_from(out)[4])


def _number(format_: str) -> _Leaf:
    layout = struct.Struct(format_)

    def write(out: bytearray, value: Any) -> None:
        out += layout.pack(value)

    return write


def _char(out: bytearray, value: Char | str) -> None:
    out += struct.pack("<H", value.unit if isinstance(value, Char) else ord(value))


def _string(out: bytearray, value: str) -> None:
    _bytes(out, value.encode())


def _bytes(out: bytearray, value: bytes) -> None:
    out += struct.pack("<i", len(value))
    out += value


def _uuid(out: bytearray, value: uuid.UUID) -> None:
    out += struct.pack("<QQ", value.int >> 64, value.int & (1 << 64) - 1)


def _decimal(out: bytearray, value: decimal.Decimal) -> None:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("only a finite number is a decimal")  # noqa: TRY004 - wrong value, not type
    magnitude = int("".join(map(str, digits)))
    size = magnitude.bit_length() // 8 + 1
    data = bytearray(magnitude.to_bytes(size, "big"))
    data[0] |= sign << 7
    out += struct.pack("<ii", -exponent, size)
    out += data


def _date(out: bytearray, value: np.datetime64) -> None:
    out += struct.pack("<q", int(value.astype("datetime64[ms]").astype(np.int64)))


def _sql_date(out: bytearray, value: np.datetime64) -> None:
    """What a DATE column of SQL has to hold: a plain date there breaks every query over the row.

    The type of such a field in the binary metadata is OBJECT.
    """
    out += struct.pack("<i", len(SQL_DATE) + 8)
    out += SQL_DATE
    _date(out, value)


def _time(out: bytearray, value: np.timedelta64) -> None:
    out += struct.pack("<q", int(value.astype("timedelta64[ms]").astype(np.int64)))


def _timestamp(out: bytearray, value: np.datetime64) -> None:
    since = int(value.astype("datetime64[ns]").astype(np.int64))
    out += struct.pack("<qi", *divmod(since, _NANOS_PER_MILLI))


def _primitives(dtype: str) -> _Leaf:
    def write(out: bytearray, value: Any) -> None:
        items = np.ascontiguousarray(value, dtype)
        out += struct.pack("<i", items.size)
        out += items.tobytes()

    return write


def _array(out: bytearray, value: Array, path: str) -> None:
    out += struct.pack("<i", len(value.items))
    _items(out, value.items, path)


def _chars(out: bytearray, value: Array) -> None:
    out += struct.pack("<i", len(value.items))
    for item in value.items:
        if not isinstance(item, Char):
            raise TypeError("every element has to be a Char")
        _char(out, item)


def _objects(out: bytearray, value: ObjectArray, path: str) -> None:
    out += struct.pack("<ii", value.type_id, len(value.items))
    _items(out, value.items, path)


def _collection(out: bytearray, value: Collection, path: str) -> None:
    out += struct.pack("<ib", len(value.items), value.kind)
    _items(out, value.items, path)


def _items(out: bytearray, items: tuple[Value, ...], path: str) -> None:
    for index, item in enumerate(items):
        write_value(out, item, f"{path}[{index}]")


def _map(out: bytearray, value: Map, path: str) -> None:
    out += struct.pack("<ib", len(value.entries), value.kind)
    for index, (key, item) in enumerate(value.entries):
        write_value(out, key, f"{path}.key[{index}]")
        write_value(out, item, f"{path}.value[{index}]")


def _enum(out: bytearray, value: Enum) -> None:
    out += struct.pack("<ii", value.type_id, value.ordinal)


def _object(out: bytearray, value: BinaryObject, path: str) -> None:
    start = len(out) - 1
    out += bytes(OBJECT_HEADER - 1)
    offsets = []
    for name, item in value.fields.items():
        offsets.append(len(out) - start)
        write_value(out, item, f"{path}.{name}")
    raw_start = len(out) - start
    out += value.raw
    footer = len(out) - start
    flags = Flag.USER_TYPE | Flag.COMPACT_FOOTER
    if offsets:
        flags |= Flag.HAS_SCHEMA
        if offsets[-1] < 1 << 8:
            flags |= Flag.OFFSET_ONE_BYTE
            out += bytes(offsets)
        elif offsets[-1] < 1 << 16:
            flags |= Flag.OFFSET_TWO_BYTES
            out += struct.pack(f"<{len(offsets)}H", *offsets)
        else:
            out += struct.pack(f"<{len(offsets)}i", *offsets)
    if value.raw:
        flags |= Flag.HAS_RAW_DATA
        if offsets:
            out += struct.pack("<i", raw_start)
    with memoryview(out) as written, written[start + OBJECT_HEADER : start + footer] as data:
        digest = bytes_hash(data)
    HEADER.pack_into(
        out,
        start,
        Code.OBJECT,
        1,
        int(flags),
        value.type_id,
        digest,
        len(out) - start,
        schema_id(map(field_id, value.fields)),
        raw_start if value.raw and not offsets else footer,
    )


_LEAVES: Final[Mapping[Code, _Leaf]] = MappingProxyType(
    {
        Code.BYTE: _number("<b"),
        Code.SHORT: _number("<h"),
        Code.INT: _number("<i"),
        Code.LONG: _number("<q"),
        Code.FLOAT: _number("<f"),
        Code.DOUBLE: _number("<d"),
        Code.CHAR: _char,
        Code.BOOL: _number("<?"),
        Code.STRING: _string,
        Code.UUID: _uuid,
        Code.DATE: _date,
        Code.BYTE_ARRAY: _bytes,
        Code.CHAR_ARRAY: _chars,
        Code.ENUM: _enum,
        Code.DECIMAL: _decimal,
        Code.TIMESTAMP: _timestamp,
        Code.TIME: _time,
        Code.JAVA_SERIALIZED: _sql_date,
        Code.BINARY_ENUM: _enum,
        **{code: _primitives(dtype) for code, dtype in ARRAY_DTYPES.items()},
    }
)

_NESTED: Final[Mapping[Code, _Nested]] = MappingProxyType(
    {
        **dict.fromkeys(REFERENCE_ARRAYS, _array),
        Code.OBJECT_ARRAY: _objects,
        Code.ENUM_ARRAY: _objects,
        Code.COLLECTION: _collection,
        Code.MAP: _map,
        Code.OBJECT: _object,
    }
)

_CODES: Final[Mapping[type, Code]] = MappingProxyType(
    {
        bool: Code.BOOL,
        np.bool_: Code.BOOL,
        int: Code.LONG,
        float: Code.DOUBLE,
        str: Code.STRING,
        bytes: Code.BYTE_ARRAY,
        np.int8: Code.BYTE,
        np.int16: Code.SHORT,
        np.int32: Code.INT,
        np.int64: Code.LONG,
        np.float32: Code.FLOAT,
        np.float64: Code.DOUBLE,
        np.timedelta64: Code.TIME,
        uuid.UUID: Code.UUID,
        decimal.Decimal: Code.DECIMAL,
        Char: Code.CHAR,
        Enum: Code.BINARY_ENUM,
        Collection: Code.COLLECTION,
        Map: Code.MAP,
        BinaryObject: Code.OBJECT,
    }
)

_ARRAYS: Final[Mapping[str, Code]] = MappingProxyType(
    {dtype: code for code, dtype in ARRAY_DTYPES.items()}
)

_INSTANTS: Final[Mapping[str, Code]] = MappingProxyType(
    {"<M8[ms]": Code.DATE, "<M8[ns]": Code.TIMESTAMP}
)
