"""Rows in another order: Arrow's own result, whatever the columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.data.take import take

EQUAL = [[float(i), i + 0.5] for i in range(9)]
LISTS = pa.list_(pa.field("element", pa.float32(), nullable=False))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(EQUAL, LISTS),
        pa.array([[i] for i in range(9)], pa.large_list(pa.int64())),
        pa.array([*EQUAL[:8], [1.0]], LISTS),
        pa.array([*EQUAL[:8], None], pa.list_(pa.float64())),
        pa.array([[1.0, None]] * 9, pa.list_(pa.float64())),
        pa.array([[]] * 9, pa.list_(pa.float64())),
        pa.array([["a", "b"]] * 9),
        pa.array([[[1, 2]]] * 9),
        pa.array(range(9)),
    ],
)
@given(places=st.permutations(range(5)), start=st.integers(0, 4))
def test_rows_are_those_that_arrow_takes(column: pa.Array, places: list[int], start: int) -> None:
    batch = pa.record_batch({"x": column}).slice(start, 5)
    taken = take(batch, np.array(places))
    taken.validate(full=True)
    assert taken.equals(batch.take(pa.array(places)))
    assert taken.schema == batch.schema
    assert take(batch.slice(0, 0), np.array([], np.int64)).num_rows == 0
