"""What tensors the columns of a table become, and how that can be chosen: values only.

| Arrow | tensor |
|---|---|
| integers, floats, bool | the same type, (rows,) |
| string, binary | string, (rows,) |
| date, time, timestamp, duration | its integer, in the column's own unit |
| uuid | string, as in `str(uuid)` |
| list of these | (rows, n) where all rows have n numbers, else ragged; lists of lists likewise |
| struct | a dictionary of its fields |
| list of structs | a dictionary of ragged fields |
| map | a dictionary of ragged `key` and `value` |
| decimal | none: cast it |

A null is refused unless something was said to take for it; see `Reading.nulls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import pyarrow as pa

from insitu.errors import ConfigurationError, nearest

Shape: TypeAlias = tuple[int, ...]
#: None is a length that differs from batch to batch.
OpenShape: TypeAlias = tuple[int | None, ...]
Path: TypeAlias = tuple[str, ...]
Nulls: TypeAlias = Literal["refuse", "fill"] | Mapping[str, object]

#: What `nulls="fill"` takes, by kind of a numpy type; integers and lists get nothing, 0.
_NOTHING: Mapping[str, object] = {"f": float("nan"), "O": b"", "b": False}


@dataclass(frozen=True, slots=True)
class Reading:
    """How columns are read; names of nested fields are joined by dots (`address.city`).

    Attributes:
        shapes: The shape of a row of a column of lists, None where its rows differ. Of columns
            that are not named the first rows tell. A column of bytes with a shape becomes uint8.
        cast: Columns to turn into another Arrow type first.
        nulls: `refuse` raises for them; `fill` takes NaN for floats, 0 for integers, False, empty
            text, and no elements for lists. A mapping gives values of one's own by name, and
            refuses nulls elsewhere.
        original: Read as IgniteDataset did: bytes are lists of uint8, int8 is uint8, and a list has
            whatever length its row has.
    """

    shapes: Mapping[str, Shape | None] = field(default_factory=dict)
    cast: Mapping[str, pa.DataType] = field(default_factory=dict)
    nulls: Nulls = "refuse"
    original: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.nulls, str) and self.nulls not in ("refuse", "fill"):
            raise ConfigurationError(
                f"nulls={self.nulls!r} is neither 'refuse' nor 'fill' nor a mapping of values"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Columns and fields it names, without those of `cast`."""
        return (*self.shapes, *(self.nulls if isinstance(self.nulls, Mapping) else ()))

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """`schema` after `cast`. Raises `ConfigurationError` for a column that is not there."""
        for name in self.cast:
            if name not in schema.names:
                raise ConfigurationError(f"cast: no column '{name}'{nearest(name, schema.names)}")
        return pa.schema([(f.name, self.cast.get(f.name, f.type)) for f in schema])

    def instead_of_null(self, name: str, kind: str) -> object | None:
        """What to take for a null of numpy kind `kind` ("" for lists); None refuses it."""
        if isinstance(self.nulls, Mapping):
            return self.nulls.get(name)
        return None if self.nulls == "refuse" else _NOTHING.get(kind, 0)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One tensor of an element.

    Attributes:
        path: Its keys in the element.
        dtype: What TensorFlow calls its type.
        lists: Levels of lists it is in, within a row.
        shape: The shape of a row, None where rows differ and the tensor is ragged.
    """

    path: Path
    dtype: str
    lists: int
    shape: OpenShape | None

    @property
    def name(self) -> str:
        """Its path, joined by dots."""
        return ".".join(self.path)

    @property
    def arrays(self) -> int:
        """How many flat arrays it takes: its values, and the splits of each level of lists."""
        return 1 if self.shape is not None else 1 + self.lists
