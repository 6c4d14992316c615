"""A batch's columns as tensors, with and without rows."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from insitu.columns import shapes
from insitu.errors import ConfigurationError, UnsupportedType
from insitu.tensorflow.batch import Batch, Form
from insitu.tensorflow.reading import Reading
from insitu.tensorflow.require import tensorflow

tf = tensorflow()

ROWS = pa.record_batch(
    {
        "x": pa.array([[1.0, 2.0], [3.0, 4.0]]),
        "image": pa.array([b"ab", b"cd"]),
        "parts": pa.array([[b"ab"], [b"cd"]]),
        "at": pa.array([{"city": "c", "zip": 1}, {"city": "d", "zip": 2}]),
    }
)


def a_batch(rows: pa.RecordBatch, reading: Reading | None = None) -> Batch:
    """As a session makes one: shapes are those that all ranks know."""
    return Batch(rows, 2, 0, 1, Form(rows.schema, shapes(ROWS), reading or Reading()))


def test_columns_are_tensors_and_structs_are_dictionaries() -> None:
    batch = a_batch(ROWS)
    assert batch["x"].numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert batch["image"].numpy().tolist() == [b"ab", b"cd"]
    assert batch["parts"].to_list() == [[b"ab"], [b"cd"]]
    assert batch["at"]["zip"].numpy().tolist() == [1, 2]
    assert len(batch) == batch.rows == 2


def test_a_batch_without_rows_has_the_same_types_and_shapes() -> None:
    empty, full = a_batch(ROWS.slice(0, 0)), a_batch(ROWS)
    assert empty["x"].shape == (0, 2)
    for mine, other in zip(
        tf.nest.flatten(empty.columns), tf.nest.flatten(full.columns), strict=True
    ):
        assert mine.dtype == other.dtype
        assert mine.shape[1:] == other.shape[1:]


def test_columns_fit_the_spec_that_a_loss_function_is_compiled_for() -> None:
    form = Form(ROWS.schema, shapes(ROWS), Reading())
    for rows in (ROWS, ROWS.slice(0, 0)):
        for spec, value in zip(
            tf.nest.flatten(form.spec), tf.nest.flatten(form(rows)), strict=True
        ):
            assert spec.is_compatible_with(value)


def test_what_is_said_of_shapes_wins() -> None:
    batch = a_batch(ROWS, Reading(shapes={"image": (2,), "x": None}))
    assert batch["image"].numpy().tolist() == [[97, 98], [99, 100]]
    assert isinstance(batch["x"], tf.RaggedTensor)


def test_an_unknown_column_and_one_without_a_tensor_are_told() -> None:
    with pytest.raises(ConfigurationError, match="no column 'y' is read"):
        a_batch(ROWS)["y"]
    prices = pa.record_batch({"price": pa.array([Decimal("1.5")])})
    with pytest.raises(UnsupportedType, match="give cast="):
        a_batch(prices)
