"""What kind of values lie at a place of a table. Arrow's types for them are in arrow_types.py, so
that who only looks a table up gets by without Arrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from insitu.databases.ignite.binary.codes import Code


@dataclass(frozen=True, slots=True)
class Nothing:
    """Only nulls so far."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Values of one type that hold no others; `code` is how they come on the wire."""

    code: Code


@dataclass(frozen=True, slots=True)
class DecimalShape:
    """Decimals of up to `whole` digits before the point and `scale` after it, as SQL `declared`
    them or as a sample had them.
    """

    whole: int
    scale: int
    declared: bool = False


@dataclass(frozen=True, slots=True)
class EnumShape:
    """Values of one enum, `named` by the cluster or not; `type_id` None until one was seen."""

    type_id: int | None
    named: bool = True


@dataclass(frozen=True, slots=True)
class ListShape:
    """Arrays and collections of `item`."""

    item: Shape


@dataclass(frozen=True, slots=True)
class MapShape:
    """Maps from `key` to `item`."""

    key: Shape
    item: Shape


@dataclass(frozen=True, slots=True)
class StructShape:
    """Complex objects of one type, whichever of its schemas they have."""

    type_id: int
    type_name: str
    fields: tuple[tuple[str, Shape], ...]


Shape: TypeAlias = Nothing | Plain | DecimalShape | EnumShape | ListShape | MapShape | StructShape

#: Of values that hold no others and need no more than their code.
PLAIN: Final = frozenset(
    {
        Code.BYTE,
        Code.SHORT,
        Code.INT,
        Code.LONG,
        Code.FLOAT,
        Code.DOUBLE,
        Code.CHAR,
        Code.BOOL,
        Code.STRING,
        Code.UUID,
        Code.DATE,
        Code.TIMESTAMP,
        Code.TIME,
        Code.BYTE_ARRAY,
    }
)


def spell(shape: Shape) -> str:
    """`shape` in words, for messages."""
    match shape:
        case Nothing():
            return "null"
        case Plain(code):
            return code.name.lower().replace("_array", "[]")
        case DecimalShape():
            return "decimal"
        case EnumShape(type_id):
            return f"enum {type_id}"
        case ListShape(item):
            return f"list of {spell(item)}"
        case MapShape(key, item):
            return f"map of {spell(key)} to {spell(item)}"
        case StructShape(_, name):
            return f"object {name}"
