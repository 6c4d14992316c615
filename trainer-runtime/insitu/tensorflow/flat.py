"""Rows as flat arrays of numbers and bytes: what tensors are made of without a look at any row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from insitu.errors import ConfigurationError, UnsupportedType
from insitu.tensorflow.leaves import dtype_of
from insitu.tensorflow.reading import Leaf, Reading
from insitu.tensorflow.walk import Splits, nulls, walk

Values: TypeAlias = npt.NDArray[Any]


def arrays(batch: pa.RecordBatch, leaves: Sequence[Leaf], reading: Reading) -> list[Values]:
    """The arrays of `leaves`, one after the other.

    One that has a shape is (rows, *shape); else come its values in a row, and for each level of
    lists its splits (lists + 1,), the outer ones first.

    Raises:
        UnsupportedType: rows are not as `leaves` says, or hold nulls that nothing was said for.
    """
    flat: list[Values] = []
    for leaf, found in zip(leaves, walk(batch, reading), strict=True):
        values = _values(found.name, found.values, reading)
        if leaf.shape is None:
            flat += [values, *found.splits]
        else:
            flat.append(values.reshape(batch.num_rows, *_sizes(found.name, leaf, found.splits)))
    return flat


def runs(batch: pa.RecordBatch, leaves: Sequence[Leaf], reading: Reading) -> Iterator[Any]:
    """`batch` in as few slices as there can be with lists of one length each, where a leaf's
    shape leaves its length open. Tables of vectors come out whole.
    """
    cuts = {batch.num_rows}
    for leaf, found in zip(leaves, walk(batch, reading), strict=True):
        if leaf.shape == (None,):
            lengths = np.diff(found.splits[0])
            cuts.update((np.flatnonzero(np.diff(lengths)) + 1).tolist())
    start = 0
    for end in sorted(cuts):
        yield batch.slice(start, end - start)
        start = end


def _sizes(name: str, leaf: Leaf, splits: Splits) -> tuple[int, ...]:
    """The lengths of all lists of each level."""
    assert leaf.shape is not None
    sizes = []
    for wanted, ends in zip(leaf.shape, splits, strict=True):
        lengths = np.diff(ends)
        size = int(lengths[0]) if wanted is None and lengths.size else wanted or 0
        wrong = lengths[lengths != size]
        if wrong.size:
            raise UnsupportedType(
                name,
                f"a list of {wrong[0]} elements, where `shapes` or the first rows have {size}: "
                f"give shapes={{'{name}': None}} for rows of different lengths",
            )
        sizes.append(size)
    return tuple(sizes)


def _values(name: str, column: pa.Array, reading: Reading) -> Values:
    """A column that holds no others as an array, (values,)."""
    dtype = dtype_of(name, column.type, reading)
    if isinstance(column.type, pa.BaseExtensionType):
        column = _spelled(column.storage)
    elif pa.types.is_temporal(column.type):
        column = column.view(pa.int32() if dtype == "int32" else pa.int64())
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string())
    if dtype == "string" and not pa.types.is_large_binary(column.type):
        column = column.cast(pa.binary())
    if column.null_count:
        column = _filled(name, column, "O" if dtype == "string" else np.dtype(dtype).kind, reading)
    values: Values = column.to_numpy(zero_copy_only=False)
    return values.view(np.uint8) if dtype == "uint8" else values


def _filled(name: str, column: pa.Array, kind: str, reading: Reading) -> pa.Array:
    instead = reading.instead_of_null(name, kind)
    if instead is None:
        raise nulls(name, column)
    try:
        return column.fill_null(
            pa.scalar(instead.encode() if isinstance(instead, str) else instead, column.type)
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise ConfigurationError(f"nulls: {instead!r} is no value of '{name}'") from error


def _spelled(column: pa.Array) -> pa.Array:
    """UUIDs, 16 bytes each, as their usual text of 36 letters."""
    whole = column.fill_null(bytes(16))
    start, rows = 16 * whole.offset, len(whole)
    octets = np.frombuffer(whole.buffers()[1], np.uint8)[start : start + 16 * rows]
    nibbles = np.stack([octets >> 4, octets & 15], axis=1).reshape(rows, 32)
    letters = np.frombuffer(b"0123456789abcdef", np.uint8)[nibbles]
    text = np.insert(letters, [8, 12, 16, 20], ord("-"), axis=1)
    ends = pa.array(np.arange(0, 36 * rows + 1, 36, dtype=np.int32))
    spelled = pa.Array.from_buffers(
        pa.binary(), rows, [None, ends.buffers()[1], pa.py_buffer(np.ascontiguousarray(text))]
    )
    return pc.if_else(column.is_valid(), spelled, None) if column.null_count else spelled
