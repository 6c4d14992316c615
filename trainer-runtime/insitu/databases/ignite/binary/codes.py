"""Type codes of Ignite's thin client protocol: the first byte of every value on the wire.

Source: Apache Ignite documentation, "Binary Client Protocol: Data Format". Little endian.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class Code(enum.IntEnum):
    """What the bytes after this one are."""

    BYTE = 1
    SHORT = 2
    INT = 3
    LONG = 4
    FLOAT = 5
    DOUBLE = 6
    CHAR = 7
    BOOL = 8
    STRING = 9
    UUID = 10
    DATE = 11
    BYTE_ARRAY = 12
    SHORT_ARRAY = 13
    INT_ARRAY = 14
    LONG_ARRAY = 15
    FLOAT_ARRAY = 16
    DOUBLE_ARRAY = 17
    CHAR_ARRAY = 18
    BOOL_ARRAY = 19
    STRING_ARRAY = 20
    UUID_ARRAY = 21
    DATE_ARRAY = 22
    OBJECT_ARRAY = 23
    COLLECTION = 24
    MAP = 25
    WRAPPED = 27
    ENUM = 28
    ENUM_ARRAY = 29
    DECIMAL = 30
    DECIMAL_ARRAY = 31
    CLASS = 32
    TIMESTAMP = 33
    TIMESTAMP_ARRAY = 34
    PROXY = 35
    TIME = 36
    TIME_ARRAY = 37
    BINARY_ENUM = 38
    NULL = 101
    HANDLE = 102
    OBJECT = 103
    JAVA_SERIALIZED = 254


#: numpy dtype of each number, as it lies on the wire.
SCALAR_DTYPES: Final[Mapping[Code, str]] = MappingProxyType(
    {
        Code.BYTE: "<i1",
        Code.SHORT: "<i2",
        Code.INT: "<i4",
        Code.LONG: "<i8",
        Code.FLOAT: "<f4",
        Code.DOUBLE: "<f8",
    }
)

#: numpy dtype of the elements of each primitive array; byte[] and char[] are not numbers.
ARRAY_DTYPES: Final[Mapping[Code, str]] = MappingProxyType(
    {
        Code.SHORT_ARRAY: "<i2",
        Code.INT_ARRAY: "<i4",
        Code.LONG_ARRAY: "<i8",
        Code.FLOAT_ARRAY: "<f4",
        Code.DOUBLE_ARRAY: "<f8",
        Code.BOOL_ARRAY: "|b1",
    }
)

#: Arrays whose elements carry their own type code (or null): array -> element.
REFERENCE_ARRAYS: Final[Mapping[Code, Code]] = MappingProxyType(
    {
        Code.STRING_ARRAY: Code.STRING,
        Code.UUID_ARRAY: Code.UUID,
        Code.DATE_ARRAY: Code.DATE,
        Code.DECIMAL_ARRAY: Code.DECIMAL,
        Code.TIMESTAMP_ARRAY: Code.TIMESTAMP,
        Code.TIME_ARRAY: Code.TIME,
    }
)


class Flag(enum.IntFlag):
    """Of the header of a complex object."""

    USER_TYPE = 0x01
    HAS_SCHEMA = 0x02
    HAS_RAW_DATA = 0x04
    OFFSET_ONE_BYTE = 0x08
    OFFSET_TWO_BYTES = 0x10
    COMPACT_FOOTER = 0x20


#: Bytes of a complex object before its first field.
OBJECT_HEADER: Final = 24
