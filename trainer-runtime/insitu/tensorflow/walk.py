"""Arrow columns taken apart into columns that hold no others, and the lists they were in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from insitu.errors import UnsupportedType
from insitu.tensorflow.reading import Path, Reading

Splits: TypeAlias = tuple[npt.NDArray[np.int64], ...]


class Found(NamedTuple):
    """The values of one tensor; `splits` are where its lists begin and end, the outer ones first.

    `direct` says that nothing but lists lies between the values and their row.
    """

    path: Path
    values: pa.Array
    splits: Splits
    direct: bool

    @property
    def name(self) -> str:
        return ".".join(self.path)


def walk(batch: pa.RecordBatch, reading: Reading) -> Iterator[Found]:
    """What is found in `batch`, cast as `reading` says; the same order for every batch.

    Raises:
        UnsupportedType: a list is null and nothing was said to take for it, or a cast fails.
    """
    schema = reading.schema(batch.schema)
    for name, column, wanted in zip(schema.names, batch.columns, schema.types, strict=True):
        yield from _walk((name,), _cast(name, column, wanted), (), reading, direct=True)


def nulls(name: str, column: pa.Array) -> UnsupportedType:
    """The refusal of the nulls of a column."""
    return UnsupportedType(
        name,
        f"{column.null_count} of {len(column)} values are null: say what to take for them, with "
        f"nulls={{'{name}': ...}} or nulls='fill'",
    )


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a type holds bytes that are no text."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether a type holds lists."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _walk(
    path: Path, column: pa.Array, splits: Splits, reading: Reading, *, direct: bool
) -> Iterator[Found]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    name = ".".join(path)
    if pa.types.is_struct(kind):
        below = direct and not splits
        for part, child in zip(kind, column.flatten(), strict=True):
            yield from _walk((*path, part.name), child, splits, reading, direct=below)
        return
    if pa.types.is_map(kind):
        entry = [pa.field("key", kind.key_type, nullable=False), ("value", kind.item_type)]
        column = column.cast(pa.list_(pa.struct(entry)))
    elif is_bytes(kind) and (reading.original or reading.shapes.get(name)):
        column = _octets(column)
    elif not is_list(kind):
        yield Found(path, column, splits, direct)
        return
    if column.null_count and reading.instead_of_null(name, "") is None:
        raise nulls(name, column)
    ends = np.zeros(len(column) + 1, np.int64)
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    np.cumsum(lengths.to_numpy(zero_copy_only=False), out=ends[1:])
    yield from _walk(path, column.flatten(), (*splits, ends), reading, direct=direct)


def _cast(name: str, column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    try:
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UnsupportedType(name, f"can't be cast to {wanted}: {error}") from error


def _octets(column: pa.Array) -> pa.Array:
    """Bytes as lists of uint8, not copied."""
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    large = pa.types.is_large_binary(column.type)
    data = column.buffers()[2] or pa.py_buffer(b"")
    return pa.Array.from_buffers(
        pa.large_list(pa.uint8()) if large else pa.list_(pa.uint8()),
        len(column),
        column.buffers()[:2],
        offset=column.offset,
        children=[pa.Array.from_buffers(pa.uint8(), data.size, [None, data])],
    )
