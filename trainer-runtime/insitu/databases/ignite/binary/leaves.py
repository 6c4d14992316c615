"""Decoding of values that hold no other values: numbers, strings, instants, primitive arrays.

Source: Apache Ignite documentation, "Binary Client Protocol: Data Format".
"""

from __future__ import annotations

import decimal
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np

from insitu.databases.ignite.binary.codes import ARRAY_DTYPES, Code
from insitu.databases.ignite.binary.hashes import java_hash
from insitu.databases.ignite.binary.values import NOT_A_TIME, Array, Char, Value
from insitu.errors import ProtocolError, UnsupportedType

#: Digits of a decimal; Arrow's widest has 76, Python converts up to 4300 at once.
_MAX_DECIMAL_BYTES: Final = 1024
_MAX_SCALE: Final = 1 << 16

#: How Java's serialization of a java.sql.Date begins; the checksum is of the class's fields.
SQL_DATE: Final = struct.pack("<Bih", 102, java_hash("java.sql.Date"), 0x6697)

_NANOS_PER_MILLI: Final = 1_000_000

_INT: Final = struct.Struct("<i")
_UNSIGNED_SHORT: Final = struct.Struct("<H")
_LONG: Final = struct.Struct("<q")
_TIMESTAMP: Final = struct.Struct("<qi")
_UUID: Final = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes `[low, high)` of a buffer; nothing outside of them is ever read."""

    buffer: memoryview
    low: int
    high: int

    def malformed(self, at: int, path: str, problem: str) -> ProtocolError:
        """The error for bytes that are no value; to be raised."""
        return ProtocolError(f"{path}: {problem} (at byte {at} of {len(self.buffer)})")

    def need(self, at: int, size: int, path: str) -> None:
        """Raises `ProtocolError` unless `size` bytes lie at `at`."""
        if at < self.low or at + size > self.high:
            raise self.malformed(at, path, f"{size} bytes are not there")

    def integer(self, at: int, path: str) -> int:
        """The int32 at `at`."""
        self.need(at, 4, path)
        return int(_INT.unpack_from(self.buffer, at)[0])

    def count(self, at: int, path: str, least: int = 1) -> int:
        """The int32 at `at`, a number of elements of at least `least` bytes each after it."""
        count = self.integer(at, path)
        if not 0 <= count * least <= self.high - at - 4:
            raise self.malformed(at, path, f"{count} elements can't be there")
        return count


#: Decodes what follows a type code at `at - 1`: the value, and the offset after it.
Leaf: TypeAlias = Callable[[Span, int, str], tuple[Value, int]]


def string(span: Span, at: int, path: str) -> tuple[str, int]:
    """The string whose length is at `at`, and the offset after it."""
    start = at + 4
    end = start + span.count(at, path)
    try:
        return str(span.buffer[start:end], "utf-8"), end
    except UnicodeDecodeError as error:
        raise span.malformed(start, path, f"a string is not UTF-8: {error.reason}") from error


def _number(format_: str, scalar: type[np.generic]) -> Leaf:
    layout = struct.Struct(format_)
    size = layout.size

    def read(span: Span, at: int, path: str) -> tuple[Value, int]:
        span.need(at, size, path)
        return scalar(layout.unpack_from(span.buffer, at)[0]), at + size

    return read


def _primitives(dtype: str) -> Leaf:
    size = np.dtype(dtype).itemsize

    def read(span: Span, at: int, path: str) -> tuple[Value, int]:
        start = at + 4
        end = start + size * span.count(at, path, size)
        # A copy: aligned, writable, and no page kept alive by one of its arrays.
        return np.frombuffer(span.buffer[start:end], dtype).copy(), end

    return read


def _bool(span: Span, at: int, path: str) -> tuple[Value, int]:
    span.need(at, 1, path)
    return span.buffer[at] != 0, at + 1


def _bools(span: Span, at: int, path: str) -> tuple[Value, int]:
    start = at + 4
    end = start + span.count(at, path)
    return np.frombuffer(span.buffer[start:end], np.uint8) != 0, end


def _char(span: Span, at: int, path: str) -> tuple[Value, int]:
    span.need(at, 2, path)
    return Char(_UNSIGNED_SHORT.unpack_from(span.buffer, at)[0]), at + 2


def _chars(span: Span, at: int, path: str) -> tuple[Value, int]:
    count = span.count(at, path, 2)
    units = struct.unpack_from(f"<{count}H", span.buffer, at + 4)
    return Array(Code.CHAR_ARRAY, tuple(map(Char, units))), at + 4 + 2 * count


def _bytes(span: Span, at: int, path: str) -> tuple[Value, int]:
    start = at + 4
    end = start + span.count(at, path)
    return bytes(span.buffer[start:end]), end


def _uuid(span: Span, at: int, path: str) -> tuple[Value, int]:
    span.need(at, 16, path)
    most, least = _UUID.unpack_from(span.buffer, at)
    return uuid.UUID(int=most << 64 | least), at + 16


def _decimal(span: Span, at: int, path: str) -> tuple[Value, int]:
    scale = span.integer(at, path)
    start = at + 8
    size = span.count(at + 4, path)
    if size == 0:
        raise span.malformed(at, path, "a decimal has no digits")
    if size > _MAX_DECIMAL_BYTES or abs(scale) > _MAX_SCALE:
        raise UnsupportedType(path, f"a decimal of {size} bytes and scale {scale}")
    # Sign and magnitude, big endian: the top bit of the first byte is the sign.
    magnitude = int.from_bytes(span.buffer[start : start + size], "big")
    sign = 1 << 8 * size - 1
    digits = tuple(map(int, str(magnitude & ~sign)))
    return decimal.Decimal((magnitude // sign, digits, -scale)), start + size


def _date(span: Span, at: int, path: str) -> tuple[Value, int]:
    return np.datetime64(_millis(span, at, path), "ms"), at + 8


def _sql_date(span: Span, at: int, path: str) -> tuple[Value, int]:
    """A java.sql.Date, which a server keeps for each DATE of SQL: Java's own serialization of an
    object with one long. Any other class in this form is beyond us.

        int32 length (15) | byte 102 | int32 hash of the class name | int16 checksum | int64 millis
    """
    start = at + 4
    end = start + span.count(at, path)
    head, millis = start, end - 8
    if end - start != 15 or bytes(span.buffer[head : head + 5]) != SQL_DATE[:5]:
        raise UnsupportedType(path, "an object serialized by Java, which only Java can read")
    return np.datetime64(_millis(span, millis, path), "ms"), end


def _time(span: Span, at: int, path: str) -> tuple[Value, int]:
    return np.timedelta64(_millis(span, at, path), "ms"), at + 8


def _millis(span: Span, at: int, path: str) -> int:
    span.need(at, 8, path)
    millis = int(_LONG.unpack_from(span.buffer, at)[0])
    if millis == NOT_A_TIME:
        raise UnsupportedType(path, "the smallest of all longs is no date in numpy and Arrow")
    return millis


def _timestamp(span: Span, at: int, path: str) -> tuple[Value, int]:
    span.need(at, 12, path)
    millis, nanos = _TIMESTAMP.unpack_from(span.buffer, at)
    if not 0 <= nanos < _NANOS_PER_MILLI:
        raise span.malformed(at, path, f"a timestamp has {nanos} ns in its millisecond")
    since = millis * _NANOS_PER_MILLI + nanos
    if not NOT_A_TIME < since < 1 << 63:
        raise UnsupportedType(path, "a timestamp in nanoseconds lies between 1677 and 2262")
    return np.datetime64(since, "ns"), at + 12


LEAVES: Final[Mapping[int, Leaf]] = MappingProxyType(
    {
        Code.BYTE: _number("<b", np.int8),
        Code.SHORT: _number("<h", np.int16),
        Code.INT: _number("<i", np.int32),
        Code.LONG: _number("<q", np.int64),
        Code.FLOAT: _number("<f", np.float32),
        Code.DOUBLE: _number("<d", np.float64),
        Code.CHAR: _char,
        Code.BOOL: _bool,
        Code.STRING: string,
        Code.UUID: _uuid,
        Code.DATE: _date,
        Code.BYTE_ARRAY: _bytes,
        Code.CHAR_ARRAY: _chars,
        Code.DECIMAL: _decimal,
        Code.TIMESTAMP: _timestamp,
        Code.TIME: _time,
        Code.JAVA_SERIALIZED: _sql_date,
        **{code: _primitives(dtype) for code, dtype in ARRAY_DTYPES.items()},
        # After the others: any byte but 0 is true to Java, and undefined to numpy.
        Code.BOOL_ARRAY: _bools,
    }
)
