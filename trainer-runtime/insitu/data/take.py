"""Rows of a batch in another order, quickly where all lists of a column are of one length."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Places: TypeAlias = npt.NDArray[Any]


def take(batch: pa.RecordBatch, places: Places) -> pa.RecordBatch:
    """`batch.take(places)`; `places` are row numbers (rows,).

    Arrow takes each list by itself, some ten times as slowly as rows of one size.
    """
    numbers = pa.array(places)
    columns = [_column(column, numbers) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _column(column: pa.Array, places: pa.Array) -> pa.Array:
    size = _row_length(column)
    if not size:
        return column.take(places)
    rows = pa.FixedSizeListArray.from_arrays(column.flatten(), size).take(places)
    large = pa.types.is_large_list(column.type)
    kind, ends = (pa.LargeListArray, pa.int64()) if large else (pa.ListArray, pa.int32())
    offsets = pa.array(np.arange(len(places) + 1, dtype=np.int64) * size, ends)
    return kind.from_arrays(offsets, rows.flatten(), type=column.type)


def _row_length(column: pa.Array) -> int:
    """Of all lists of numbers of a column; 0 where they differ or are no such lists."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or column.null_count:
        return 0
    number = pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)
    if not number or not len(column):
        return 0
    lengths = np.diff(column.offsets.to_numpy())
    return int(lengths[0]) if (lengths == lengths[0]).all() else 0
