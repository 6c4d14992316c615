"""Ignite values in Python, each of a Python type of its own, so that a value says what it is.

| Ignite | Python |
|---|---|
| null, bool, string, byte[] | `None`, `bool`, `str`, `bytes` |
| byte short int long float double | `numpy.int8 int16 int32 int64 float32 float64` |
| char | `Char` |
| short[] int[] long[] float[] double[] bool[] | `numpy.ndarray` of that dtype |
| char[], string[], UUID[], date[], decimal[], timestamp[], time[] | `Array` |
| UUID, decimal | `uuid.UUID`, `decimal.Decimal` |
| date, timestamp | `numpy.datetime64` in ms, in ns (UTC) |
| time | `numpy.timedelta64` in ms since midnight (UTC) |
| enum, enum[] | `Enum`, `ObjectArray` of `Enum` |
| object[], collection, map, complex object | `ObjectArray`, `Collection`, `Map`, `BinaryObject` |
"""

from __future__ import annotations

import decimal
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from insitu.databases.ignite.binary.codes import Code


@dataclass(frozen=True, slots=True)
class Char:
    """Java's char: one UTF-16 code unit, 0 to 65535."""

    unit: int


@dataclass(frozen=True, slots=True)
class Enum:
    """One value of an enum; `name` is None when the cluster does not list the type's names."""

    type_id: int
    ordinal: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Array:
    """A char[] or an array of one reference type; `code` is the array's own."""

    code: Code
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class ObjectArray:
    """An object[] or, with `code` ENUM_ARRAY, an enum[]; `type_id` is the element class, -1 any."""

    items: tuple[Value, ...]
    type_id: int = -1
    code: Code = Code.OBJECT_ARRAY


@dataclass(frozen=True, slots=True)
class Collection:
    """`kind`: -1 set, 0 collection, 1 ArrayList, 2 LinkedList, 3 HashSet, 4 LinkedHashSet,
    5 singleton list.
    """

    items: tuple[Value, ...]
    kind: int = 1


@dataclass(frozen=True, slots=True)
class Map:
    """`kind`: 1 HashMap, 2 LinkedHashMap. Entries as they lie on the wire."""

    entries: tuple[tuple[Value, Value], ...]
    kind: int = 1


@dataclass(frozen=True, slots=True)
class BinaryObject:
    """A complex object: its fields by name, in the order they were written.

    `raw` is what a class wrote outside of named fields; only that class can read it.
    """

    type_id: int
    type_name: str
    fields: Mapping[str, Value]
    raw: bytes = b""


#: Anything a cache can hold.
Value: TypeAlias = (
    bool
    | str
    | bytes
    | uuid.UUID
    | decimal.Decimal
    | np.generic
    | npt.NDArray[Any]
    | Char
    | Enum
    | Array
    | ObjectArray
    | Collection
    | Map
    | BinaryObject
    | None
)

#: One entry of a cache: its key and its value.
Row: TypeAlias = tuple[Value, Value]

#: numpy can't tell this instant from "not a time", so it has no place in a column either.
NOT_A_TIME: Final = -(1 << 63)
