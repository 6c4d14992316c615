"""CQL types as values, and the Arrow types that hold them.

| CQL | Arrow |
|---|---|
| boolean, tinyint, smallint, int, bigint, counter | bool, int8, int16, int32, int64, int64 |
| float, double | float32, float64 |
| ascii, text (varchar) | string |
| blob | binary |
| uuid, timeuuid | `arrow.uuid` (16 bytes, big endian) |
| date | date32 |
| time | time64[ns] |
| timestamp | timestamp[ms], UTC |
| duration | month_day_nano_interval |
| inet | string, as in `127.0.0.1` and `::1` |
| varint | decimal128(38, 0) |
| decimal | decimal128(38, 18) |
| list, set | list |
| map | map |
| tuple | struct of `0`, `1`, ... |
| user-defined type | struct |
| vector | fixed-size list |

CQL's decimals have a scale of their own each, and no bounds; one that does not fit its column
raises `UnsupportedType`, and nothing is rounded. `frozen` changes nothing here. Empty values of
types that have no empty value of their own (an int of no bytes) are null.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

import pyarrow as pa


class Native(enum.Enum):
    """Types that hold no others, by their names in CQL."""

    ASCII = "ascii"
    BIGINT = "bigint"
    BLOB = "blob"
    BOOLEAN = "boolean"
    COUNTER = "counter"
    DATE = "date"
    DECIMAL = "decimal"
    DOUBLE = "double"
    DURATION = "duration"
    FLOAT = "float"
    INET = "inet"
    INT = "int"
    SMALLINT = "smallint"
    TEXT = "text"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMEUUID = "timeuuid"
    TINYINT = "tinyint"
    UUID = "uuid"
    VARINT = "varint"


@dataclass(frozen=True, slots=True)
class ListOf:
    """`list` or `set`: they look the same."""

    item: CqlType


@dataclass(frozen=True, slots=True)
class MapOf:
    """`map`."""

    key: CqlType
    item: CqlType


@dataclass(frozen=True, slots=True)
class TupleOf:
    """`tuple`."""

    items: tuple[CqlType, ...]


@dataclass(frozen=True, slots=True)
class UserType:
    """A user-defined type; values written before a field was added end before it."""

    name: str
    fields: tuple[tuple[str, CqlType], ...]


@dataclass(frozen=True, slots=True)
class VectorOf:
    """`vector`: always `size` items, none of them null."""

    item: CqlType
    size: int


CqlType: TypeAlias = Native | ListOf | MapOf | TupleOf | UserType | VectorOf


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result."""

    name: str
    type: CqlType


#: Bytes of a value, where all values of the type have as many.
WIDTHS: Final[Mapping[Native, int]] = MappingProxyType(
    {
        Native.BOOLEAN: 1,
        Native.TINYINT: 1,
        Native.SMALLINT: 2,
        Native.DATE: 4,
        Native.FLOAT: 4,
        Native.INT: 4,
        Native.BIGINT: 8,
        Native.COUNTER: 8,
        Native.DOUBLE: 8,
        Native.TIME: 8,
        Native.TIMESTAMP: 8,
        Native.TIMEUUID: 16,
        Native.UUID: 16,
    }
)

#: Those that Java's AbstractType calls fixed: in a vector they stand one after the other, and all
#: others have their length in front.
_PACKED: Final = frozenset(
    {
        Native.BOOLEAN,
        Native.FLOAT,
        Native.INT,
        Native.BIGINT,
        Native.DOUBLE,
        Native.TIMESTAMP,
        Native.TIMEUUID,
        Native.UUID,
    }
)

_ARROW: Final[Mapping[Native, pa.DataType]] = MappingProxyType(
    {
        Native.ASCII: pa.string(),
        Native.BIGINT: pa.int64(),
        Native.BLOB: pa.binary(),
        Native.BOOLEAN: pa.bool_(),
        Native.COUNTER: pa.int64(),
        Native.DATE: pa.date32(),
        Native.DECIMAL: pa.decimal128(38, 18),
        Native.DOUBLE: pa.float64(),
        Native.DURATION: pa.month_day_nano_interval(),
        Native.FLOAT: pa.float32(),
        Native.INET: pa.string(),
        Native.INT: pa.int32(),
        Native.SMALLINT: pa.int16(),
        Native.TEXT: pa.string(),
        Native.TIME: pa.time64("ns"),
        Native.TIMESTAMP: pa.timestamp("ms"),
        Native.TIMEUUID: pa.uuid(),
        Native.TINYINT: pa.int8(),
        Native.UUID: pa.uuid(),
        Native.VARINT: pa.decimal128(38, 0),
    }
)

#: Types with a value of no bytes; everywhere else no bytes are null.
HAS_EMPTY: Final = frozenset({Native.ASCII, Native.BLOB, Native.TEXT})


def width(kind: CqlType) -> int | None:
    """Bytes of every value of `kind`; None where values differ."""
    if isinstance(kind, VectorOf):
        item = packed_width(kind.item)
        return None if item is None else item * kind.size
    return WIDTHS.get(kind) if isinstance(kind, Native) else None


def packed_width(item: CqlType) -> int | None:
    """Bytes of an item of a vector, where items have no length in front."""
    if isinstance(item, VectorOf):
        return width(item)
    return WIDTHS[item] if isinstance(item, Native) and item in _PACKED else None


def arrow_type(kind: CqlType) -> pa.DataType:
    """The Arrow type of columns of `kind`, as the table of this module says."""
    match kind:
        case Native():
            return _ARROW[kind]
        case ListOf(item):
            return pa.list_(arrow_type(item))
        case MapOf(key, item):
            return pa.map_(arrow_type(key), arrow_type(item))
        case TupleOf(items):
            return pa.struct([(str(n), arrow_type(item)) for n, item in enumerate(items)])
        case UserType(_, fields):
            return pa.struct([(name, arrow_type(field)) for name, field in fields])
        case VectorOf(item, size):
            return pa.list_(arrow_type(item), size)


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The schema of record batches of `columns`."""
    return pa.schema([(column.name, arrow_type(column.type)) for column in columns])


def spell(kind: CqlType) -> str:
    """`kind` as CQL spells it."""
    match kind:
        case Native():
            return kind.value
        case ListOf(item):
            return f"list<{spell(item)}>"
        case MapOf(key, item):
            return f"map<{spell(key)}, {spell(item)}>"
        case TupleOf(items):
            return f"tuple<{', '.join(map(spell, items))}>"
        case UserType(name, _):
            return name
        case VectorOf(item, size):
            return f"vector<{spell(item)}, {size}>"
