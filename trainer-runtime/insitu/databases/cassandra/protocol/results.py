"""What a `RESULT` holds: rows, or a prepared statement.

Source: sections 4.2.5 and 6 of the native protocol's specification, version 4.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from insitu.databases.cassandra.columns.classes import parse_class
from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.columns.types import (
    Column,
    CqlType,
    ListOf,
    MapOf,
    Native,
    TupleOf,
    UserType,
)
from insitu.errors import ProtocolError

_ROWS: Final = 2
_PREPARED: Final = 4

_GLOBAL_TABLE: Final = 0x01
_MORE_PAGES: Final = 0x02
_NO_METADATA: Final = 0x04

_NATIVE: Final[Mapping[int, Native]] = MappingProxyType(
    {
        0x01: Native.ASCII,
        0x02: Native.BIGINT,
        0x03: Native.BLOB,
        0x04: Native.BOOLEAN,
        0x05: Native.COUNTER,
        0x06: Native.DECIMAL,
        0x07: Native.DOUBLE,
        0x08: Native.FLOAT,
        0x09: Native.INT,
        0x0B: Native.TIMESTAMP,
        0x0C: Native.UUID,
        0x0D: Native.TEXT,
        0x0E: Native.VARINT,
        0x0F: Native.TIMEUUID,
        0x10: Native.INET,
        0x11: Native.DATE,
        0x12: Native.TIME,
        0x13: Native.SMALLINT,
        0x14: Native.TINYINT,
    }
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement the server knows by `id`; `columns` are those of its rows."""

    id: bytes
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """`columns` is empty where the reply was asked to leave them out."""

    page: Page
    columns: tuple[Column, ...]


def parse_rows(body: memoryview) -> Rows:
    """Rows, not looked at yet.

    Raises:
        ProtocolError: the body is none of rows.
    """
    scanner = Scanner(body)
    if scanner.integer() != _ROWS:
        raise ProtocolError("a result that holds no rows")
    paging_state, columns = _metadata(scanner)
    count = scanner.integer()
    # Each cell takes the four bytes of its length at least.
    if not 0 <= count * 4 <= len(body) - scanner.at:
        raise ProtocolError(f"{len(body)} bytes can't hold {count} rows")
    return Rows(Page(body, scanner.at, count, paging_state), columns)


def parse_prepared(body: memoryview) -> Prepared:
    """A statement that was prepared.

    Raises:
        ProtocolError: the body is none of a prepared statement.
        UnsupportedType: a column's values have no Arrow type.
    """
    scanner = Scanner(body)
    if scanner.integer() != _PREPARED:
        raise ProtocolError("a result that holds no prepared statement")
    number = bytes(scanner.take(scanner.short()))
    _bound(scanner)
    return Prepared(number, _metadata(scanner)[1])


class Scanner:
    """Goes through the body of a message."""

    def __init__(self, body: memoryview, at: int = 0) -> None:
        self.at = at
        self._body = body

    def take(self, size: int) -> memoryview:
        start, self.at = self.at, self.at + size
        if size < 0 or self.at > len(self._body):
            raise ProtocolError("a message that is cut off")
        return self._body[start : self.at]

    def integer(self) -> int:
        return int(struct.unpack(">i", self.take(4))[0])

    def short(self) -> int:
        return int(struct.unpack(">H", self.take(2))[0])

    def string(self) -> str:
        return str(self.take(self.short()), "utf-8", "replace")

    def data(self) -> bytes | None:
        size = self.integer()
        return None if size < 0 else bytes(self.take(size))


def _bound(scanner: Scanner) -> None:
    """The metadata of bound values: nothing of it is needed."""
    flags, columns = scanner.integer(), scanner.integer()
    for _ in range(scanner.integer()):
        scanner.short()
    if not flags & _NO_METADATA:
        _columns(scanner, columns, in_one_table=bool(flags & _GLOBAL_TABLE))


def _metadata(scanner: Scanner) -> tuple[bytes | None, tuple[Column, ...]]:
    flags, columns = scanner.integer(), scanner.integer()
    paging_state = scanner.data() if flags & _MORE_PAGES else None
    if flags & _NO_METADATA:
        return paging_state, ()
    return paging_state, _columns(scanner, columns, in_one_table=bool(flags & _GLOBAL_TABLE))


def _columns(scanner: Scanner, count: int, *, in_one_table: bool) -> tuple[Column, ...]:
    if in_one_table:
        _table(scanner)
    found: list[Column] = []
    for _ in range(count):
        if not in_one_table:
            _table(scanner)
        name = scanner.string()
        found.append(Column(name, _type(scanner, name)))
    return tuple(found)


def _table(scanner: Scanner) -> None:
    for _ in ("keyspace", "table"):
        scanner.string()


def _type(scanner: Scanner, path: str) -> CqlType:
    number = scanner.short()
    if number in _NATIVE:
        return _NATIVE[number]
    match number:
        case 0x00:  # custom: duration and vectors, among others
            return parse_class(path, scanner.string())
        case 0x20 | 0x22:  # list, set
            return ListOf(_type(scanner, path))
        case 0x21:  # map
            return MapOf(_type(scanner, path), _type(scanner, path))
        case 0x30:  # user-defined
            return _user_type(scanner, path)
        case 0x31:  # tuple
            return TupleOf(tuple(_type(scanner, path) for _ in range(scanner.short())))
    raise ProtocolError(
        f"column '{path}' is of a type with the number {number}, which is not known"
    )


def _user_type(scanner: Scanner, path: str) -> UserType:
    scanner.string()
    name = scanner.string()
    fields: list[tuple[str, CqlType]] = []
    for _ in range(scanner.short()):
        field = scanner.string()
        fields.append((field, _type(scanner, f"{path}.{field}")))
    return UserType(name, tuple(fields))
