"""Which tensors rows of a schema become."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from insitu.errors import ConfigurationError, UnsupportedType, nearest
from insitu.tensorflow.reading import Leaf, OpenShape, Reading
from insitu.tensorflow.walk import Found, Splits, is_bytes, walk


def leaves(schema: pa.Schema, reading: Reading, sample: pa.RecordBatch | None) -> list[Leaf]:
    """The tensors that rows of `schema` become.

    Args:
        schema: Of every batch.
        reading: What was asked for.
        sample: The first rows, which tell the shapes of lists; None where there are none.

    Raises:
        UnsupportedType: a column has no tensor; says what to cast it to.
        ConfigurationError: `reading` names a column that is not there.
    """
    empty = pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)
    known = {found.name for found in walk(empty, reading)}
    for name in reading.names:
        if name not in known and not any(other.startswith(f"{name}.") for other in known):
            raise ConfigurationError(f"no column '{name}' is read{nearest(name, known)}")
    return [_leaf(found, reading) for found in walk(empty if sample is None else sample, reading)]


def dtype_of(name: str, kind: pa.DataType, reading: Reading) -> str:
    """What TensorFlow calls the type of values of the Arrow type `kind`.

    Raises:
        UnsupportedType: there is none; says what to cast to.
    """
    if kind == pa.int8() and reading.original:
        return "uint8"
    if is_bytes(kind) or _is_text(kind) or pa.types.is_null(kind) or kind == pa.uuid():
        return "string"
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return "int32" if kind.bit_width == 32 else "int64"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return str(np.dtype(kind.to_pandas_dtype()))
    if reading.original:
        if pa.types.is_decimal(kind):
            return "string"
        raise UnsupportedType(
            name, f"{kind} has no tensor: insitu.tensorflow.dataset leaves it out by `columns`"
        )
    better = "pa.float64()" if pa.types.is_decimal(kind) else "a type of numbers or text"
    raise UnsupportedType(
        name,
        f"{kind} has no tensor: give cast={{'{name}': {better}}}, or leave it out of `columns`",
    )


def _leaf(found: Found, reading: Reading) -> Leaf:
    dtype = dtype_of(found.name, found.values.type, reading)
    lists = len(found.splits)
    shape: OpenShape | None = None
    said = reading.shapes.get(found.name)
    if said is not None and len(said) != lists:
        raise ConfigurationError(
            f"shapes: '{found.name}' has {lists} dimensions a row, not {len(said)}"
        )
    if found.name in reading.shapes and lists:
        shape = said
    elif not lists:
        shape = ()
    elif found.direct and reading.original:
        shape = (None,) if lists == 1 and _lengths(found.splits) else None
    elif found.direct and dtype != "string":
        shape = _lengths(found.splits)
    return Leaf(found.path, dtype, lists, shape)


def _lengths(splits: Splits) -> OpenShape | None:
    """The lengths that all lists of each level have; None where they differ or there are none."""
    lengths = [np.diff(ends) for ends in splits]
    if not all(each.size and each[0] and (each == each[0]).all() for each in lengths):
        return None
    return tuple(int(each[0]) for each in lengths)


def _is_text(kind: pa.DataType) -> bool:
    string = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(string or pa.types.is_string_view(kind))
