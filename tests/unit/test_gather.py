"""Permuted rows put together: Arrow's own result, whatever the columns."""

from __future__ import annotations

import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.data.gather import Permuted, Piece, gather

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
        pa.array(EQUAL, pa.list_(pa.field("item", pa.float32(), nullable=False), 2)),
        pa.array([*EQUAL[:8], None], pa.list_(pa.float32(), 2)),
        pa.array([[1.0, None]] * 9, pa.list_(pa.float64(), 2)),
        pa.array([[]] * 9, pa.list_(pa.float64(), 0)),
        pa.array([[[1, 2]]] * 9, pa.list_(pa.list_(pa.int32(), 2), 1)),
        pa.array([[]] * 9, pa.list_(pa.float64())),
        pa.array([["a", "b"]] * 9),
        pa.array([[[1, 2]]] * 9),
        pa.array(range(9)),
        pa.array([*range(8), None]),
        pa.array([True, False, True] * 3),
        pa.array([f"row {i}" for i in range(9)]),
        pa.array([{"x": i} for i in range(9)]),
        pa.array([uuid.UUID(int=i).bytes for i in range(9)], pa.uuid()),
    ],
)
@given(
    orders=st.lists(st.permutations(range(5)), min_size=1, max_size=3),
    cuts=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(1, 5)), max_size=6),
    start=st.integers(0, 4),
)
def test_rows_are_those_that_arrow_takes(
    column: pa.Array,
    orders: list[list[int]],
    cuts: list[tuple[int, int, int]],
    start: int,
) -> None:
    batch = pa.record_batch({"x": column}).slice(start, 5)
    blocks = [Permuted(batch, np.array(order)) for order in orders]
    pieces = [
        Piece(blocks[block % len(blocks)], first, min(first + rows, 5))
        for block, first, rows in cuts
    ]
    gathered = gather(pieces, batch.schema)
    gathered.validate(full=True)
    places = [place for block, first, end in pieces for place in block.places[first:end]]
    assert gathered.equals(batch.take(pa.array(places, pa.int64())))


def test_blocks_may_have_lists_of_different_lengths() -> None:
    batches = [pa.record_batch({"x": pa.array([[1] * size] * 2)}) for size in (1, 3)]
    pieces = [Piece(Permuted(batch, np.array([1, 0])), 0, 2) for batch in batches]
    assert gather(pieces, batches[0].schema).column("x").to_pylist() == [[1]] * 2 + [[1] * 3] * 2


def test_of_no_rows_the_schema_is_left() -> None:
    schema = pa.schema([("x", pa.list_(pa.float32())), ("id", pa.uuid())])
    assert gather([], schema).schema == schema
