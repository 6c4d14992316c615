"""Ignite values for tests: any of them, and when two of them are the same."""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st

from insitu.databases.ignite.binary.codes import REFERENCE_ARRAYS, Code
from insitu.databases.ignite.binary.decode import read_value
from insitu.databases.ignite.binary.encode import code_of, write_value
from insitu.databases.ignite.binary.hashes import field_id, schema_id, type_id
from insitu.databases.ignite.binary.metadata import BinaryField, BinaryType, BinaryTypes
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

NO_TYPES = BinaryTypes(lambda _: None)


def encoded(value: Value | int | float) -> memoryview:
    out = bytearray()
    write_value(out, value)
    return memoryview(bytes(out))


def decoded(data: bytes | bytearray | memoryview, types: BinaryTypes = NO_TYPES) -> Value:
    """The one value that `data` is."""
    value, end = read_value(memoryview(data), 0, types, "val")
    assert end == len(data)
    return value


def binary_object(name: str, /, raw: bytes = b"", **fields: Value) -> BinaryObject:
    return BinaryObject(type_id(name), name, fields, raw)


def types_of(*values: Value) -> BinaryTypes:
    """What a cluster would know after `values` were written to it."""
    return BinaryTypes({kind.id: kind for kind in registered(*values)}.get)


def registered(*values: Value | int) -> list[BinaryType]:
    """The types of all objects in `values`, in all the schemas that occur."""
    known: dict[int, BinaryType] = {}
    for found in (each for value in values for each in _objects(value)):
        before = known.get(found.type_id, BinaryType(found.type_id, found.type_name))
        fields = {field.id: field for field in before.fields}
        ids = tuple(field_id(name) for name in found.fields)
        for number, name in zip(ids, found.fields, strict=True):
            fields.setdefault(number, BinaryField(number, name, _declared(found.fields[name])))
        schemas = {**before.schemas, schema_id(ids): ids}
        known[found.type_id] = BinaryType(
            found.type_id, found.type_name, tuple(fields.values()), schemas
        )
    return list(known.values())


def _declared(value: Value) -> Code:
    return Code.OBJECT if value is None else code_of(value)


def _objects(value: Value | int) -> Iterator[BinaryObject]:
    match value:
        case BinaryObject():
            yield value
            for field in value.fields.values():
                yield from _objects(field)
        case Array(items=items) | ObjectArray(items=items) | Collection(items=items):
            for item in items:
                yield from _objects(item)
        case Map(entries):
            for key, item in entries:
                yield from _objects(key)
                yield from _objects(item)


def same(left: Any, right: Any) -> bool:
    """Equal in value and type, element by element; not-a-number equals itself."""
    if type(left) is not type(right):
        return False
    match left:
        case np.ndarray():
            return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=_real(left))
        case np.floating():
            return bool(left == right or (np.isnan(left) and np.isnan(right)))
        case decimal.Decimal():
            return bool(left.as_tuple() == right.as_tuple())
        case Array() | ObjectArray() | Collection():
            heads = [(getattr(v, "code", 0), getattr(v, "kind", 0)) for v in (left, right)]
            return heads[0] == heads[1] and _all_same(left.items, right.items)
        case Map():
            entries = [[x for entry in v.entries for x in entry] for v in (left, right)]
            return left.kind == right.kind and _all_same(*entries)
        case BinaryObject():
            return (
                (left.type_id, left.type_name, left.raw)
                == (right.type_id, right.type_name, right.raw)
                and list(left.fields) == list(right.fields)
                and _all_same(list(left.fields.values()), list(right.fields.values()))
            )
    return bool(left == right and getattr(left, "dtype", 0) == getattr(right, "dtype", 0))


def _all_same(left: Any, right: Any) -> bool:
    return len(left) == len(right) and all(map(same, left, right))


def _real(array: np.ndarray[Any, Any]) -> bool:
    return bool(array.dtype.kind == "f")


def _integers(kind: type[np.signedinteger[Any]]) -> st.SearchStrategy[Any]:
    limits = np.iinfo(kind)
    return st.integers(int(limits.min), int(limits.max)).map(kind)


_longs = st.integers(-(1 << 63) + 1, (1 << 63) - 1)
_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_decimals = st.builds(
    lambda digits, exponent: decimal.Decimal(digits).scaleb(exponent, decimal.Context(prec=60)),
    st.integers(-(10**40), 10**40),
    st.integers(-40, 10),
)
_dates = _longs.map(lambda ms: np.datetime64(ms, "ms"))
_timestamps = _longs.map(lambda ns: np.datetime64(ns, "ns"))
_times = _longs.map(lambda ms: np.timedelta64(ms, "ms"))
_chars = st.integers(0, 0xFFFF).map(Char)

LEAVES = {
    Code.BYTE: _integers(np.int8),
    Code.SHORT: _integers(np.int16),
    Code.INT: _integers(np.int32),
    Code.LONG: _integers(np.int64),
    Code.FLOAT: st.floats(width=32).map(np.float32),
    Code.DOUBLE: st.floats().map(np.float64),
    Code.CHAR: _chars,
    Code.BOOL: st.booleans(),
    Code.STRING: _texts,
    Code.UUID: st.uuids(),
    Code.DATE: _dates,
    Code.BYTE_ARRAY: st.binary(max_size=8),
    Code.DECIMAL: _decimals,
    Code.TIMESTAMP: _timestamps,
    Code.TIME: _times,
    Code.BINARY_ENUM: st.builds(Enum, st.integers(1, 9), st.integers(0, 9)),
    Code.CHAR_ARRAY: st.lists(_chars, max_size=4).map(lambda v: Array(Code.CHAR_ARRAY, tuple(v))),
}


def _numbers(dtype: str, items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, max_size=4).map(lambda values: np.array(values, dtype))


def _array(code: Code, element: Code) -> st.SearchStrategy[Any]:
    items = st.lists(st.none() | LEAVES[element], max_size=4)
    return items.map(lambda values: Array(code, tuple(values)))


ARRAYS = {
    Code.SHORT_ARRAY: _numbers("<i2", LEAVES[Code.SHORT]),
    Code.INT_ARRAY: _numbers("<i4", LEAVES[Code.INT]),
    Code.LONG_ARRAY: _numbers("<i8", LEAVES[Code.LONG]),
    Code.FLOAT_ARRAY: _numbers("<f4", LEAVES[Code.FLOAT]),
    Code.DOUBLE_ARRAY: _numbers("<f8", LEAVES[Code.DOUBLE]),
    Code.BOOL_ARRAY: _numbers("|b1", LEAVES[Code.BOOL]),
    **{code: _array(code, element) for code, element in REFERENCE_ARRAYS.items()},
}

_leaves = st.one_of(st.none(), *LEAVES.values(), *ARRAYS.values())
_names = st.sampled_from(["id", "Größe", "street", "ZIP", "x"])


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    items = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Collection, items, st.integers(-1, 5)),
        st.builds(ObjectArray, items, st.integers(-5, 5).filter(bool)),
        st.builds(Map, st.lists(st.tuples(inner, inner), max_size=3).map(tuple)),
        st.builds(
            lambda name, fields, raw: binary_object(name, raw, **fields),
            st.sampled_from(["Person", "Address"]),
            st.dictionaries(_names, inner, max_size=4),
            st.binary(max_size=4),
        ),
    )


#: Any value that Ignite can hold.
VALUES: st.SearchStrategy[Value] = st.recursive(_leaves, _containers, max_leaves=8)
