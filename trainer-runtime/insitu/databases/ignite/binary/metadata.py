"""What the cluster knows of binary types: names, fields, enum values and schemas.

Formats of the operations 3002 (get) and 3003 (put): Apache Ignite documentation, "Binary Client
Protocol: Binary Type Metadata".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.binary.hashes import field_id, schema_id, type_id
from insitu.errors import ProtocolError

GET_BINARY_TYPE: Final = 3002
PUT_BINARY_TYPE: Final = 3003

_INT: Final = struct.Struct("<i")


@dataclass(frozen=True, slots=True)
class BinaryField:
    """A field of a binary type. `code` is what its first writer declared; OBJECT is any class."""

    id: int
    name: str
    code: int


@dataclass(frozen=True, slots=True)
class BinaryType:
    """One binary type of the cluster.

    `schemas` are the field ids of each shape its objects were written in, in the order of their
    footers, by schema id. `enum` maps ordinals to names and is None for what is no enum.
    """

    id: int
    name: str
    fields: tuple[BinaryField, ...] = ()
    schemas: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    enum: Mapping[int, str] | None = None
    affinity_field: str | None = None


def object_type(
    name: str, fields: Mapping[str, Code], affinity_field: str | None = None
) -> BinaryType:
    """The type of objects that have all of `fields`, in that order."""
    known = tuple(BinaryField(field_id(key), key, int(code)) for key, code in fields.items())
    ids = tuple(each.id for each in known)
    return BinaryType(
        type_id(name), name, known, {schema_id(ids): ids} if ids else {}, None, affinity_field
    )


def enum_type(name: str, names: Mapping[int, str]) -> BinaryType:
    """The type of an enum whose values are `names`, by ordinal."""
    return BinaryType(type_id(name), name, enum=dict(names))


class BinaryTypes:
    """Binary types by id, each fetched from the cluster once, and again when rows come in a schema
    that it did not have then. Safe to share between threads if `fetch` is.
    """

    def __init__(self, fetch: Callable[[int], BinaryType | None]) -> None:
        """`fetch` asks the cluster for a type by its id; None is a type that nobody registered."""
        self._fetch = fetch
        self._types: dict[int, BinaryType | None] = {}
        self._names: dict[tuple[int, int], tuple[str, ...]] = {}

    def find(self, number: int) -> BinaryType | None:
        """The type with that id, or None."""
        if number not in self._types:
            self._types[number] = self._fetch(number)
        return self._types[number]

    def field_names(
        self, number: int, schema: int, ids: tuple[int, ...] | None = None
    ) -> tuple[str, ...]:
        """Names of an object's fields in the order of its footer, which may list their `ids`.

        Raises:
            ProtocolError: the cluster has no such type, schema or field.
        """
        names = self._names.get((number, schema))
        if names is None or (ids is not None and len(ids) != len(names)):
            try:
                names = _names(number, self.find(number), schema, ids)
            except ProtocolError:
                self._types[number] = self._fetch(number)
                names = _names(number, self._types[number], schema, ids)
            self._names[number, schema] = names
        return names


def _names(
    number: int, kind: BinaryType | None, schema: int, ids: tuple[int, ...] | None
) -> tuple[str, ...]:
    if kind is None:
        raise ProtocolError(f"binary type {number} is not registered in the cluster")
    if ids is None:
        ids = kind.schemas.get(schema)
    if ids is None:
        raise ProtocolError(f"binary type {kind.name} has no schema {schema}")
    known = {each.id: each.name for each in kind.fields}
    unknown = [each for each in ids if each not in known]
    if unknown:
        raise ProtocolError(f"binary type {kind.name} has no field with id {unknown[0]}")
    return tuple(known[each] for each in ids)


def get_request(number: int) -> bytes:
    """Body of operation 3002."""
    return _INT.pack(number)


def parse_get_reply(body: memoryview) -> BinaryType | None:
    """Body of the reply to operation 3002; None when the type is not registered.

    Raises:
        ProtocolError: the bytes are no such reply.
    """
    try:
        return _Body(body).binary_type()
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ProtocolError(f"the metadata of a binary type can't be read: {error}") from error


def put_request(kind: BinaryType) -> bytes:
    """Body of operation 3003, which merges `kind` into what the cluster has of that type."""
    out = bytearray(_INT.pack(kind.id))
    _put_string(out, kind.name)
    _put_string(out, kind.affinity_field)
    out += _INT.pack(len(kind.fields))
    for each in kind.fields:
        _put_string(out, each.name)
        out += struct.pack("<ii", each.code, each.id)
    out.append(kind.enum is not None)
    if kind.enum is not None:
        out += _INT.pack(len(kind.enum))
        for ordinal, name in kind.enum.items():
            _put_string(out, name)
            out += _INT.pack(ordinal)
    out += _INT.pack(len(kind.schemas))
    for number, ids in kind.schemas.items():
        out += struct.pack(f"<ii{len(ids)}i", number, len(ids), *ids)
    return bytes(out)


def _put_string(out: bytearray, text: str | None) -> None:
    if text is None:
        out.append(Code.NULL)
        return
    data = text.encode()
    out += struct.pack("<bi", Code.STRING, len(data)) + data


class _Body:
    """Reads the untyped fields of a metadata reply, front to back."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    def binary_type(self) -> BinaryType | None:
        if not self._byte():
            return None
        number, name, affinity_field = self._int(), self._string(), self._string()
        fields = tuple(self._field() for _ in range(self._count()))
        enum = None
        if self._byte():
            pairs = [(self._string(), self._int()) for _ in range(self._count())]
            enum = {ordinal: text or "" for text, ordinal in pairs}
        schemas = {}
        for _ in range(self._count()):
            schema = self._int()
            schemas[schema] = tuple(self._int() for _ in range(self._count()))
        return BinaryType(number, name or str(number), fields, schemas, enum, affinity_field)

    def _field(self) -> BinaryField:
        name, code, number = self._string(), self._int(), self._int()
        return BinaryField(number, name or str(number), code)

    def _byte(self) -> int:
        self._at += 1
        return self._body[self._at - 1]

    def _int(self) -> int:
        (number,) = _INT.unpack_from(self._body, self._at)
        self._at += 4
        return int(number)

    def _count(self) -> int:
        count = self._int()
        if not 0 <= count <= len(self._body):
            raise ProtocolError(f"the metadata of a binary type claims {count} entries")
        return count

    def _string(self) -> str | None:
        code = self._byte()
        if code == Code.NULL:
            return None
        size = self._count()
        if code != Code.STRING or self._at + size > len(self._body):
            raise ProtocolError("the metadata of a binary type has a string that is none")
        self._at += size
        return str(self._body[self._at - size : self._at], "utf-8")
