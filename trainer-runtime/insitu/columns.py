"""Arrow columns as rectangular arrays: what every framework needs, and none of it by name.

A column of numbers has the shape (rows,); lists of equal length make it (rows, n), nested ones
(rows, n, m); bytes of equal length are (rows, n) of uint8. Nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from insitu.errors import UnsupportedType

Shape = tuple[int, ...]


class Dense(NamedTuple):
    """`values`: all numbers of a column, row by row; `shape`: how many there are a row."""

    values: pa.Array
    shape: Shape


def dense(name: str, column: pa.Array, shape: Shape | None = None) -> Dense:
    """The numbers of `column`, and the shape of a row.

    `shape` is what to assume of an empty column: without rows nothing tells how long its lists
    would be. Nulls among the numbers themselves stay; nulls of lists do not.

    Raises:
        UnsupportedType: the column has no rectangular form; says why.
    """
    found: list[int] = []
    while (size := _row_length(name, column, None if shape is None else shape[len(found) :])) >= 0:
        found.append(size)
        column = _elements(column)
    if not _is_number(column.type):
        raise UnsupportedType(name, f"{column.type} has no tensor: use batch.arrow for it")
    return Dense(column, tuple(found))


def no_nulls(name: str) -> str:
    """What to do about nulls in the column `name`."""
    return (
        f"give those rows a value in the table, leave them out (Cassandra: by a condition on "
        f"another column in spec.data.cassandra.where), or name in spec.data.columns all that is "
        f"needed but '{name}'"
    )


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """A batch of `schema` without rows; pyarrow's own way knows no nested extension types."""
    arrays = [pa.nulls(0, field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def shapes(batch: pa.RecordBatch) -> Mapping[str, Shape]:
    """The shape of a row of every column that has one; empty for a batch without rows."""
    found: dict[str, Shape] = {}
    if not batch.num_rows:
        return found
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            found[name] = dense(name, column).shape
        except UnsupportedType:
            continue
    return found


def _row_length(name: str, column: pa.Array, assumed: Shape | None) -> int:
    """How many elements each row of `column` has; -1 where rows are no lists."""
    kind = column.type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if pa.types.is_fixed_size_list(kind):
        size = int(kind.list_size)
    elif pa.types.is_fixed_size_binary(kind) and not isinstance(kind, pa.BaseExtensionType):
        size = int(kind.byte_width)
    elif not (listed or binary):
        return -1
    elif len(column) == 0:
        return assumed[0] if assumed else 0
    else:
        size = -1
    if column.null_count:
        raise UnsupportedType(
            name,
            f"{column.null_count} of {len(column)} rows are null, and a tensor has no place for "
            f"them: {no_nulls(name)}; batch.arrow has them as they are",
        )
    if size >= 0:
        return size
    lengths = pc.min_max(pc.list_value_length(column) if listed else pc.binary_length(column))
    low, high = int(lengths["min"].as_py()), int(lengths["max"].as_py())
    if low != high:
        raise UnsupportedType(
            name,
            f"rows hold {low} to {high} elements, so they make no rectangular tensor: use "
            "batch.arrow for them",
        )
    return low


def _elements(column: pa.Array) -> pa.Array:
    """The elements of a column of lists or bytes without nulls, one after the other."""
    kind = column.type
    if not (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        return column.flatten()
    if not len(column):
        return pa.array([], pa.uint8())
    if pa.types.is_fixed_size_binary(kind):
        start, size = column.offset * kind.byte_width, len(column) * kind.byte_width
    else:
        wide = pa.types.is_large_binary(kind)
        offsets = pa.Array.from_buffers(
            pa.int64() if wide else pa.int32(),
            len(column) + 1,
            [None, column.buffers()[1]],
            offset=column.offset,
        )
        start = offsets[0].as_py()
        size = offsets[-1].as_py() - start
    return pa.Array.from_buffers(pa.uint8(), size, [None, column.buffers()[-1]], offset=start)


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )
