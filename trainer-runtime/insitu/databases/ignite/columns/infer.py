"""The shape of values: what metadata declares, what a sample shows, and what covers both."""

from __future__ import annotations

import decimal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np

from insitu.databases.ignite.binary.codes import ARRAY_DTYPES, REFERENCE_ARRAYS, Code
from insitu.databases.ignite.binary.encode import code_of
from insitu.databases.ignite.binary.metadata import BinaryType, BinaryTypes
from insitu.databases.ignite.binary.values import (
    Array,
    BinaryObject,
    Collection,
    Enum,
    Map,
    ObjectArray,
    Value,
)
from insitu.databases.ignite.columns.shape import (
    PLAIN,
    DecimalShape,
    EnumShape,
    ListShape,
    MapShape,
    Nothing,
    Plain,
    Shape,
    StructShape,
    spell,
)
from insitu.errors import UnsupportedType

#: Arrays whose elements need no code of their own: array -> element.
_PRIMITIVE_ARRAYS: Final[Mapping[Code, Code]] = MappingProxyType(
    {code: Code[code.name.removesuffix("_ARRAY")] for code in (*ARRAY_DTYPES, Code.CHAR_ARRAY)}
)


def shape_of_code(code: int) -> Shape:
    """What a declared type code alone says; the rest is for a sample to say."""
    if code in PLAIN:
        return Plain(Code(code))
    if code in _PRIMITIVE_ARRAYS:
        return ListShape(Plain(_PRIMITIVE_ARRAYS[Code(code)]))
    if code in REFERENCE_ARRAYS:
        return ListShape(shape_of_code(REFERENCE_ARRAYS[Code(code)]))
    if code == Code.DECIMAL:
        return DecimalShape(0, 0)
    if code in (Code.ENUM, Code.BINARY_ENUM):
        return EnumShape(None)
    if code == Code.ENUM_ARRAY:
        return ListShape(EnumShape(None))
    if code in (Code.OBJECT_ARRAY, Code.COLLECTION):
        return ListShape(Nothing())
    if code == Code.MAP:
        return MapShape(Nothing(), Nothing())
    return Nothing()


def shape_of_type(kind: BinaryType) -> StructShape:
    """What the cluster's metadata says of the objects of one type.

    Fields are in the order of its schemas: the server lists the fields themselves in no order.
    """
    written = list(dict.fromkeys(number for ids in kind.schemas.values() for number in ids))
    place = {number: place for place, number in enumerate(written)}
    ordered = sorted(kind.fields, key=lambda field: place.get(field.id, len(place)))
    fields = tuple((field.name, shape_of_code(field.code)) for field in ordered)
    return StructShape(kind.id, kind.name, fields)


def shape_of_values(values: Iterable[Value], types: BinaryTypes, path: str) -> Shape:
    """The one shape that all `values` have; raises `UnsupportedType` when there is none."""
    shape: Shape = Nothing()
    for value in values:
        shape = merge(shape, shape_of(value, types, path), path)
    return shape


def shape_of(value: Value, types: BinaryTypes, path: str) -> Shape:
    """The shape of one value. Raises `UnsupportedType` with the path inside of it."""
    match value:
        case None:
            return Nothing()
        case decimal.Decimal():
            _, digits, exponent = value.as_tuple()
            assert isinstance(exponent, int)
            return DecimalShape(max(len(digits) + exponent, 0), max(-exponent, 0))
        case Enum():
            kind = types.find(value.type_id)
            return EnumShape(value.type_id, bool(kind and kind.enum))
        case Array() | np.ndarray():
            # A primitive or reference array says what it holds, even when it holds nothing.
            declared = shape_of_code(code_of(value, path))
            if isinstance(value, np.ndarray) or value.code == Code.CHAR_ARRAY:
                return declared
            return merge(declared, _shape_of_items(value.items, types, path), path)
        case ObjectArray(items, _, code):
            return merge(shape_of_code(code), _shape_of_items(items, types, path), path)
        case Collection(items):
            return _shape_of_items(items, types, path)
        case Map(entries):
            keys = shape_of_values((key for key, _ in entries), types, f"{path}.key")
            held = shape_of_values((item for _, item in entries), types, f"{path}.value")
            return MapShape(keys, held)
        case BinaryObject():
            return _shape_of_object(value, types, path)
        case _:
            return Plain(code_of(value, path))


def _shape_of_items(items: Sequence[Value], types: BinaryTypes, path: str) -> ListShape:
    item: Shape = Nothing()
    for index, value in enumerate(items):
        where = f"{path}[{index}]"
        item = merge(item, shape_of(value, types, where), where)
    return ListShape(item)


def _shape_of_object(value: BinaryObject, types: BinaryTypes, path: str) -> StructShape:
    if value.raw:
        raise UnsupportedType(
            path, f"{value.type_name} holds raw data, which only its own Java class can read"
        )
    fields = tuple(
        (name, shape_of(field, types, f"{path}.{name}")) for name, field in value.fields.items()
    )
    shape = StructShape(value.type_id, value.type_name, fields)
    kind = types.find(value.type_id)
    return _merge_structs(shape_of_type(kind), shape, path) if kind else shape


def merge(left: Shape, right: Shape, path: str) -> Shape:
    """The shape that covers both. Raises `UnsupportedType` when there is none."""
    match left, right:
        case Nothing(), _:
            return right
        case _, Nothing():
            return left
        case ListShape(), ListShape():
            return ListShape(merge(left.item, right.item, f"{path}[]"))
        case MapShape(), MapShape():
            key = merge(left.key, right.key, f"{path}.key")
            return MapShape(key, merge(left.item, right.item, f"{path}.value"))
        case StructShape(), StructShape():
            return _merge_structs(left, right, path)
        case DecimalShape(), DecimalShape():
            if left.declared or right.declared:
                return left if left.declared else right
            return DecimalShape(max(left.whole, right.whole), max(left.scale, right.scale))
        case EnumShape(None), EnumShape():
            return right
        case EnumShape(), EnumShape(None):
            return left
    if left != right:
        raise UnsupportedType(
            path, f"{spell(left)} and {spell(right)} in one place; a column holds one type"
        )
    return left


def _merge_structs(left: StructShape, right: StructShape, path: str) -> StructShape:
    if left.type_id != right.type_id:
        raise UnsupportedType(
            path, f"{spell(left)} and {spell(right)} in one place; a column holds one type"
        )
    fields = dict(left.fields)
    for name, shape in right.fields:
        fields[name] = merge(fields.get(name, Nothing()), shape, f"{path}.{name}")
    return replace(left, fields=tuple(fields.items()))
