"""Random tables of every type that a database yields, read by `IgniteDataset`.

Run as a program with a number of tables, it reads that many:

    python -m tests.tensorflow.tables 1000
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from insitu.tensorflow import IgniteDataset
from insitu.tensorflow.require import tensorflow
from insitu.topology import ShardId
from tests.memory import MemoryDatabase


@dataclass(frozen=True)
class Kind:
    """A type, its values, and what becomes of each (None for a null) in an element."""

    arrow: pa.DataType
    values: st.SearchStrategy[Any]
    read: Callable[[Any], Any]

    @property
    def nullable(self) -> st.SearchStrategy[Any]:
        return st.none() | self.values


def _number(arrow: pa.DataType, bits: int) -> Kind:
    bound = 2 ** (bits - 1)
    values = st.integers(-bound, bound - 1)
    return Kind(arrow, values, lambda value: value or 0)


def _real(arrow: pa.DataType, width: Literal[32, 64]) -> Kind:
    def read(value: Any) -> Any:
        return "nan" if value is None else value

    return Kind(arrow, st.floats(width=width, allow_nan=False), read)


PLAIN = (
    Kind(pa.int8(), st.integers(-128, 127), lambda value: (value or 0) % 256),
    *(_number(pa.int16(), 16), _number(pa.int32(), 32), _number(pa.int64(), 64)),
    *(_real(pa.float32(), 32), _real(pa.float64(), 64)),
    Kind(pa.bool_(), st.booleans(), bool),
    Kind(pa.string(), st.text(max_size=4), lambda value: (value or "").encode()),
    Kind(pa.binary(), st.binary(max_size=4), lambda value: list(value or b"")),
    Kind(pa.timestamp("ms"), st.integers(0, 2**40), lambda value: value or 0),
    Kind(pa.date32(), st.integers(0, 2**15), lambda value: value or 0),
    Kind(
        pa.decimal128(12, 2),
        st.decimals(-(10**6), 10**6, places=2),
        lambda value: b"" if value is None else str(value).encode(),
    ),
)


def a_list(item: Kind) -> Kind:
    """Of nullable items; those are 0 to 3, so that lengths repeat, change and are none."""
    return Kind(
        pa.list_(item.arrow),
        st.lists(item.nullable, max_size=3),
        lambda value: [item.read(each) for each in value or []],
    )


def a_struct(one: Kind, other: Kind) -> Kind:
    def read(value: Any) -> Any:
        value = value or {"a": None, "b": None}
        return {"a": one.read(value["a"]), "b": other.read(value["b"])}

    return Kind(
        pa.struct([("a", one.arrow), ("b", other.arrow)]),
        st.fixed_dictionaries({"a": one.nullable, "b": other.nullable}),
        read,
    )


def a_map(item: Kind) -> Kind:
    def read(value: Any) -> Any:
        keys, values = zip(*value, strict=True) if value else ((), ())
        return {"key": [key.encode() for key in keys], "value": [item.read(v) for v in values]}

    entries = st.dictionaries(st.text(max_size=2), item.nullable, max_size=3)
    return Kind(pa.map_(pa.string(), item.arrow), entries.map(lambda d: list(d.items())), read)


@st.composite
def kinds(draw: st.DrawFn) -> Kind:
    plain = st.sampled_from(PLAIN)
    made: list[st.SearchStrategy[Kind]] = [
        plain,
        plain.map(a_list),
        plain.map(a_list).map(a_list),
        st.builds(a_struct, plain, plain.map(a_list)),
        plain.map(a_map),
    ]
    return draw(st.one_of(made))


@dataclass(frozen=True)
class Table:
    """Columns with their values by row."""

    kinds: tuple[Kind, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def arrow(self) -> pa.Table:
        columns = {
            f"c{number}": pa.array([row[number] for row in self.rows], kind.arrow)
            for number, kind in enumerate(self.kinds)
        }
        return pa.table(columns)

    @property
    def elements(self) -> list[dict[str, Any]]:
        """What they are read as."""
        return [
            {f"c{n}": kind.read(v) for n, (kind, v) in enumerate(zip(self.kinds, row, strict=True))}
            for row in self.rows
        ]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Runs of rows that are alike, as nulls and vectors come in practice."""
    columns = tuple(draw(st.lists(kinds(), min_size=1, max_size=3)))
    row = st.tuples(*(kind.nullable for kind in columns))
    runs = draw(st.lists(st.tuples(row, st.integers(1, 9)), max_size=6))
    return Table(columns, tuple(one for one, times in runs for _ in range(times)))


def read(table: Table) -> list[dict[str, Any]]:
    """The elements of `IgniteDataset` over `table` in two shards, as Python has them."""
    whole = table.arrow
    cut = len(table.rows) // 3
    shards = {ShardId("0"): whole.slice(0, cut), ShardId("1"): whole.slice(cut)}
    dataset = IgniteDataset(
        "T", "127.0.0.1", 1, environ={}, open_database=lambda _source: MemoryDatabase(shards)
    )
    return [tensorflow().nest.map_structure(_plain, element["val"]) for element in dataset]


def _plain(tensor: Any) -> Any:
    if hasattr(tensor, "to_list"):
        return _without_nan(tensor.to_list())
    value = tensor.numpy()
    return _without_nan(value if isinstance(value, bytes) else value.tolist())


def _without_nan(value: Any) -> Any:
    """NaN is not equal to itself."""
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def read_random_tables(_rank: int, _world: int, _port: int, count: int) -> int:
    """Reads `count` tables and compares each with what was written; returns how many."""
    done: list[Table] = []

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(tables())
    def check(table: Table) -> None:
        assert read(table) == table.elements
        done.append(table)

    check()
    return len(done)


if __name__ == "__main__":
    sys.stdout.write(f"{read_random_tables(0, 1, 0, int(sys.argv[1]))} tables\n")
