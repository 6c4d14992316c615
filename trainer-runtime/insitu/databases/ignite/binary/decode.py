"""The general decoder of everything that Ignite's thin client protocol can carry.

It trusts no byte: every length is checked against the bytes there are, every nesting is bounded,
and whatever does not add up raises with the path of the value. It is the slow way, and the oracle
of the fast one. Source: Apache Ignite documentation, "Binary Client Protocol: Data Format".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from insitu.databases.ignite.binary.codes import REFERENCE_ARRAYS, Code
from insitu.databases.ignite.binary.leaves import LEAVES, Span
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.binary.objects import read_class_name, read_frame
from insitu.databases.ignite.binary.values import (
    Array,
    BinaryObject,
    Collection,
    Enum,
    Map,
    ObjectArray,
    Row,
    Value,
)
from insitu.errors import ProtocolError, UnsupportedType

#: Deeper than any sane object, and shallow enough for Python's own stack.
MAX_DEPTH: Final = 64
#: Values in one row. A handle lets few bytes stand for many values, so bytes alone bound nothing.
MAX_VALUES: Final = 1 << 24

_ONLY_JAVA: Final = frozenset({Code.CLASS, Code.PROXY})


def read_value(buffer: memoryview, offset: int, types: BinaryTypes, path: str) -> tuple[Value, int]:
    """Decodes the value at `offset` of `buffer`; `path` is what errors call it.

    Returns:
        The value, and the offset of the first byte after it.

    Raises:
        ProtocolError: the bytes are no value.
        UnsupportedType: they are one that only its own Java class can read, or one that holds
            itself.
    """
    return _Decoder(Span(buffer, offset, len(buffer)), types).read(offset, path)


def read_rows(
    buffer: memoryview, offset: int, count: int, types: BinaryTypes
) -> tuple[list[Row], int]:
    """Decodes `count` entries, key and value each, and the offset after them; raises as above."""
    rows = []
    for _ in range(count):
        key, offset = read_value(buffer, offset, types, "key")
        value, offset = read_value(buffer, offset, types, "val")
        rows.append((key, value))
    return rows, offset


class _Decoder:
    """Decodes one value and all that it holds, inside one span."""

    __slots__ = ("_depth", "_known", "_open", "_span", "_types", "_values")

    def __init__(self, span: Span, types: BinaryTypes, depth: int = 0) -> None:
        self._span = span
        self._types = types
        self._depth = depth
        self._values = 0
        # Offsets of the values being decoded right now: a handle to one of them is a cycle.
        self._open: set[int] = set()
        # What handles stand for, by offset, and how many values each one adds.
        self._known: dict[int, tuple[Value, int]] = {}

    def read(self, at: int, path: str) -> tuple[Value, int]:
        self._span.need(at, 1, path)
        self._count(1, path)
        code = self._span.buffer[at]
        if (leaf := LEAVES.get(code)) is not None:
            return leaf(self._span, at + 1, path)
        if code == Code.NULL:
            return None, at + 1
        if (nested := _NESTED.get(code)) is not None:
            return self._enter(nested, at, path)
        if code in _ONLY_JAVA:
            raise UnsupportedType(path, f"only Java can read a {Code(code).name}")
        raise self._span.malformed(at, path, f"{code} is no type code")

    def _count(self, more: int, path: str) -> None:
        self._values += more
        if self._values > MAX_VALUES:
            raise ProtocolError(f"{path}: one row has more than {MAX_VALUES} values")

    def _enter(self, nested: _Nested, at: int, path: str) -> tuple[Value, int]:
        if self._depth == MAX_DEPTH:
            raise ProtocolError(f"{path}: nested deeper than {MAX_DEPTH} levels")
        self._depth += 1
        self._open.add(at)
        value = nested(self, at + 1, path)
        self._open.remove(at)
        self._depth -= 1
        return value

    def _items(self, count: int, at: int, path: str) -> tuple[tuple[Value, ...], int]:
        items = []
        for index in range(count):
            item, at = self.read(at, f"{path}[{index}]")
            items.append(item)
        return tuple(items), at

    def _class_id(self, at: int, path: str) -> tuple[int, int]:
        number = self._span.integer(at, path)
        if number:
            return number, at + 4
        return read_class_name(self._span, at + 4, path)

    def _enum(self, at: int, path: str) -> tuple[Value, int]:
        number, at = self._class_id(at, path)
        ordinal = self._span.integer(at, path)
        kind = self._types.find(number)
        names = (kind.enum if kind else None) or {}
        return Enum(number, ordinal, names.get(ordinal)), at + 4

    def _references(self, at: int, path: str) -> tuple[Value, int]:
        code = Code(self._span.buffer[at - 1])
        element = REFERENCE_ARRAYS[code]
        count = self._span.count(at, path)
        at += 4
        items = []
        for index in range(count):
            where = f"{path}[{index}]"
            item, end = self.read(at, where)
            if self._span.buffer[at] not in (element, Code.NULL):
                raise self._span.malformed(at, where, f"this is no {element.name}")
            items.append(item)
            at = end
        return Array(code, tuple(items)), at

    def _objects(self, at: int, path: str) -> tuple[Value, int]:
        code = Code(self._span.buffer[at - 1])
        number, at = self._class_id(at, path)
        items, end = self._items(self._span.count(at, path), at + 4, path)
        return ObjectArray(items, number, code), end

    def _collection(self, at: int, path: str) -> tuple[Value, int]:
        count, kind, at = self._kind_of_container(at, path)
        items, end = self._items(count, at, path)
        return Collection(items, kind), end

    def _map(self, at: int, path: str) -> tuple[Value, int]:
        count, kind, at = self._kind_of_container(at, path)
        entries = []
        for index in range(count):
            key, at = self.read(at, f"{path}.key[{index}]")
            value, at = self.read(at, f"{path}.value[{index}]")
            entries.append((key, value))
        return Map(tuple(entries), kind), at

    def _kind_of_container(self, at: int, path: str) -> tuple[int, int, int]:
        count = self._span.count(at, path)
        self._span.need(at + 4, 1, path)
        kind = self._span.buffer[at + 4]
        return count, kind - 256 if kind > 127 else kind, at + 5

    def _wrapped(self, at: int, path: str) -> tuple[Value, int]:
        """Bytes with a root value somewhere in them; handles inside never point outside."""
        start = at + 4
        end = start + self._span.count(at, path)
        root = self._span.integer(end, path)
        inner = _Decoder(Span(self._span.buffer, start, end), self._types, self._depth)
        value, _ = inner.read(start + root, path)
        self._count(inner._values, path)
        return value, end + 4

    def _handle(self, at: int, path: str) -> tuple[Value, int]:
        """A value that was already written, so many bytes before the handle itself."""
        target = at - 1 - self._span.integer(at, path)
        if target >= at - 1:
            raise self._span.malformed(at, path, "a handle has to point back")
        if target in self._open:
            raise UnsupportedType(path, "the value holds itself, and a column can't hold a cycle")
        if target in self._known:
            value, count = self._known[target]
            self._count(count, path)
        else:
            before = self._values
            value, _ = self.read(target, path)
            self._known[target] = value, self._values - before
        return value, at + 4

    def _object(self, at: int, path: str) -> tuple[Value, int]:
        frame = read_frame(self._span, at - 1, self._types, path)
        fields: dict[str, Value] = {}
        position = frame.fields_start
        for name, offset in zip(frame.names, frame.offsets, strict=True):
            where = f"{path}.{name}"
            # Fields are written front to back; overlaps would make few bytes a lot of work.
            if offset < position:
                raise self._span.malformed(offset, where, "a field starts inside of another one")
            fields[name], position = self.read(offset, where)
            if position > frame.fields_end:
                raise self._span.malformed(offset, where, "a field reaches beyond its object")
        raw = bytes(self._span.buffer[frame.fields_end : frame.raw_end])
        return BinaryObject(frame.type_id, frame.type_name, fields, raw), frame.end


_Nested: TypeAlias = Callable[[_Decoder, int, str], tuple[Value, int]]

_NESTED: Final[Mapping[int, _Nested]] = MappingProxyType(
    {
        **dict.fromkeys(REFERENCE_ARRAYS, _Decoder._references),
        Code.OBJECT_ARRAY: _Decoder._objects,
        Code.ENUM_ARRAY: _Decoder._objects,
        Code.COLLECTION: _Decoder._collection,
        Code.MAP: _Decoder._map,
        Code.WRAPPED: _Decoder._wrapped,
        Code.ENUM: _Decoder._enum,
        Code.BINARY_ENUM: _Decoder._enum,
        Code.HANDLE: _Decoder._handle,
        Code.OBJECT: _Decoder._object,
    }
)
