"""One value from its bytes: types that hold no others.

Source: section 6 of the native protocol's specification, version 4, and of version 5 for
`duration`. Everything is big endian.
"""

from __future__ import annotations

import decimal
import ipaddress
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from insitu.databases.cassandra.columns.types import WIDTHS, Native
from insitu.errors import ProtocolError, UnsupportedType

_EPOCH_DAY: Final = 1 << 31
#: Beyond this a decimal can't fit any column, and turning it into digits would take for ever.
_MOST_BYTES: Final = 64
NANOS_PER_DAY: Final = 86_400_000_000_000

_DIGITS: Final = 38
_PLACES: Final = 18
_INT: Final = struct.Struct(">i")


def decode_value(path: str, kind: Native, data: memoryview) -> Any:
    """The value as `pyarrow.array` takes it for the Arrow type of `kind`.

    Raises:
        ProtocolError: these bytes are no value of the type.
        UnsupportedType: the value does not fit the Arrow type.
    """
    if kind in WIDTHS and len(data) != WIDTHS[kind]:
        raise ProtocolError(f"{path}: a {kind.value} can't have {len(data)} bytes")
    return _DECODERS[kind](path, data)


def unsigned_vint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, and the offset after it: as many leading ones as bytes follow.

    Raises:
        IndexError: it does not end inside `data`.
    """
    first = data[at]
    extra = 8 - (first ^ 0xFF).bit_length()
    end = at + 1 + extra
    if end > len(data):
        raise IndexError(end)
    if not extra:
        return first, end
    return int.from_bytes(data[at + 1 : end], "big") | (first & (0xFF >> extra)) << 8 * extra, end


def _number(code: str) -> Callable[[str, memoryview], Any]:
    unpack = struct.Struct(f">{code}").unpack
    return lambda _path, data: unpack(data)[0]


def _text(path: str, data: memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{path}: a text that is not UTF-8") from error


def _decimal(path: str, data: memoryview) -> decimal.Decimal:
    if len(data) < _INT.size + 1:
        raise ProtocolError(f"{path}: a decimal can't have {len(data)} bytes")
    (scale,) = _INT.unpack_from(data)
    unscaled = _integer(path, data[_INT.size :])
    if not unscaled:
        return decimal.Decimal(0)
    digits = str(abs(unscaled)).rstrip("0")
    scale -= len(str(abs(unscaled))) - len(digits)
    if scale > _PLACES or len(digits) - scale > _DIGITS - _PLACES:
        raise UnsupportedType(
            path, f"{digits}e{-scale} does not fit a decimal128({_DIGITS}, {_PLACES})"
        )
    return decimal.Decimal((int(unscaled < 0), tuple(map(int, digits)), -scale))


def _varint(path: str, data: memoryview) -> decimal.Decimal:
    value = _integer(path, data)
    if abs(value) >= 10**_DIGITS:
        raise UnsupportedType(path, f"a varint of {len(data)} bytes does not fit 38 digits")
    return decimal.Decimal(value)


def _integer(path: str, data: memoryview) -> int:
    if len(data) > _MOST_BYTES:
        raise UnsupportedType(path, f"a number of {len(data)} bytes does not fit 38 digits")
    return int.from_bytes(data, "big", signed=True)


def _duration(path: str, data: memoryview) -> pa.MonthDayNano:
    parts: list[int] = []
    at = 0
    try:
        for _ in range(3):
            raw, at = unsigned_vint(data, at)
            parts.append(raw >> 1 ^ -(raw & 1))
    except IndexError as error:
        raise ProtocolError(f"{path}: a duration that is cut off") from error
    if at != len(data):
        raise ProtocolError(f"{path}: a duration can't have {len(data)} bytes")
    return pa.MonthDayNano(parts)


def _time(path: str, data: memoryview) -> int:
    nanos = int.from_bytes(data, "big", signed=True)
    if not 0 <= nanos < NANOS_PER_DAY:
        raise ProtocolError(f"{path}: a time that is not within a day")
    return nanos


def _inet(path: str, data: memoryview) -> str:
    if len(data) not in (4, 16):
        raise ProtocolError(f"{path}: an inet can't have {len(data)} bytes")
    return str(ipaddress.ip_address(bytes(data)))


_DECODERS: Final[Mapping[Native, Callable[[str, memoryview], Any]]] = MappingProxyType(
    {
        Native.ASCII: _text,
        Native.BIGINT: _number("q"),
        Native.BLOB: lambda _path, data: bytes(data),
        Native.BOOLEAN: lambda _path, data: data[0] != 0,
        Native.COUNTER: _number("q"),
        Native.DATE: lambda _path, data: int.from_bytes(data, "big") - _EPOCH_DAY,
        Native.DECIMAL: _decimal,
        Native.DOUBLE: _number("d"),
        Native.DURATION: _duration,
        Native.FLOAT: _number("f"),
        Native.INET: _inet,
        Native.INT: _number("i"),
        Native.SMALLINT: _number("h"),
        Native.TEXT: _text,
        Native.TIME: _time,
        Native.TIMESTAMP: _number("q"),
        Native.TIMEUUID: lambda _path, data: bytes(data),
        Native.TINYINT: _number("b"),
        Native.UUID: lambda _path, data: bytes(data),
        Native.VARINT: _varint,
    }
)
