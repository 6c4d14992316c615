"""Java class names of types, as the protocol names what it has no number for.

    org.apache.cassandra.db.marshal.VectorType(org.apache.cassandra.db.marshal.FloatType , 256)

Parameters of a user-defined type are its keyspace, its name in hexadecimal, and `field:type` with
the field's name in hexadecimal too. Source: `TypeParser` and `VectorType` of Apache Cassandra 5.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from insitu.databases.cassandra.columns.types import (
    CqlType,
    ListOf,
    MapOf,
    Native,
    TupleOf,
    UserType,
    VectorOf,
)
from insitu.errors import ProtocolError, UnsupportedType

_NATIVE: Final[Mapping[str, Native]] = MappingProxyType(
    {
        "AsciiType": Native.ASCII,
        "BooleanType": Native.BOOLEAN,
        "ByteType": Native.TINYINT,
        "BytesType": Native.BLOB,
        "CounterColumnType": Native.COUNTER,
        "DateType": Native.TIMESTAMP,
        "DecimalType": Native.DECIMAL,
        "DoubleType": Native.DOUBLE,
        "DurationType": Native.DURATION,
        "FloatType": Native.FLOAT,
        "InetAddressType": Native.INET,
        "Int32Type": Native.INT,
        "IntegerType": Native.VARINT,
        "LongType": Native.BIGINT,
        "ShortType": Native.SMALLINT,
        "SimpleDateType": Native.DATE,
        "TimeType": Native.TIME,
        "TimeUUIDType": Native.TIMEUUID,
        "TimestampType": Native.TIMESTAMP,
        "UTF8Type": Native.TEXT,
        "UUIDType": Native.UUID,
    }
)
_TOKEN: Final = re.compile(r"\s*([\w.$]+|[(),:])\s*", re.ASCII)
_DEEPEST: Final = 64


def parse_class(path: str, text: str) -> CqlType:
    """The type that `text` names.

    Raises:
        UnsupportedType: there is no Arrow type for it; `path` is the column.
        ProtocolError: the text is no such name.
    """
    tokens: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ProtocolError(f"{path}: '{text}' is no name of a type")
        tokens.append(match[1])
        at = match.end()
    parser = _Parser(path, text, tokens)
    found = parser.kind(0)
    parser.end()
    return found


class _Parser:
    def __init__(self, path: str, text: str, tokens: list[str]) -> None:
        self._path = path
        self._text = text
        self._tokens = tokens
        self._at = 0

    def kind(self, depth: int) -> CqlType:
        if depth > _DEEPEST:
            raise self._wrong()
        name = self._name().rpartition(".")[2]
        if name in _NATIVE:
            return _NATIVE[name]
        match name:
            case "ListType" | "SetType":
                return ListOf(self._kinds(depth, 1)[0])
            case "MapType":
                return MapOf(*self._kinds(depth, 2))
            case "FrozenType" | "ReversedType":
                return self._kinds(depth, 1)[0]
            case "TupleType":
                return TupleOf(tuple(self._kinds(depth)))
            case "UserType":
                return self._user_type(depth)
            case "VectorType":
                return self._vector(depth)
        raise UnsupportedType(
            self._path,
            f"values of type '{self._text}' have no Arrow type; name the columns you need, "
            "without this one",
        )

    def end(self) -> None:
        if self._at != len(self._tokens):
            raise self._wrong()

    def _kinds(self, depth: int, count: int | None = None) -> list[CqlType]:
        self._expect("(")
        found = [self.kind(depth + 1)]
        while self._take(","):
            found.append(self.kind(depth + 1))
        self._expect(")")
        if count not in (None, len(found)):
            raise self._wrong()
        return found

    def _user_type(self, depth: int) -> UserType:
        self._expect("(")
        self._name()
        self._expect(",")
        name = self._decoded()
        fields: list[tuple[str, CqlType]] = []
        while self._take(","):
            field = self._decoded()
            self._expect(":")
            fields.append((field, self.kind(depth + 1)))
        self._expect(")")
        return UserType(name, tuple(fields))

    def _vector(self, depth: int) -> VectorOf:
        self._expect("(")
        item = self.kind(depth + 1)
        self._expect(",")
        size = self._name()
        self._expect(")")
        if not size.isdecimal() or int(size) < 1:
            raise self._wrong()
        return VectorOf(item, int(size))

    def _decoded(self) -> str:
        try:
            return bytes.fromhex(self._name()).decode()
        except ValueError as error:
            raise self._wrong() from error

    def _name(self) -> str:
        if self._at == len(self._tokens) or self._tokens[self._at] in "(),:":
            raise self._wrong()
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, token: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == token:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._wrong()

    def _wrong(self) -> ProtocolError:
        return ProtocolError(f"{self._path}: '{self._text}' is no name of a type")
