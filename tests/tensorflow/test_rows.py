"""`IgniteDataset` on tables in memory: whatever rows hold, each comes out as one element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from insitu.tensorflow import IgniteDataset
from insitu.tensorflow.require import tensorflow
from insitu.topology import ShardId
from tests.memory import MemoryDatabase
from tests.tensorflow.processes import run
from tests.tensorflow.tables import read_random_tables

tf = tensorflow()


def a_dataset(column: pa.Array) -> Any:
    database = MemoryDatabase({ShardId("0"): pa.table({"c": column})})
    return IgniteDataset("T", "127.0.0.1", 1, environ={}, open_database=lambda _source: database)


# A crash ends the process it happens in, so random tables are read in one of their own.
def test_random_tables_of_every_type_come_out_as_they_are() -> None:
    assert run(read_random_tables, 1, 30) == [30]


@pytest.mark.parametrize(
    "values", [[[1, 2], [3, 4]], [[1], [], [2, 3]], [[], None], [[1, 2], None, []]]
)
def test_a_list_is_a_vector_of_any_length_wherever_its_rows_lie(values: Sequence[Any]) -> None:
    dataset = a_dataset(pa.array(values, pa.list_(pa.float32())))
    assert dataset.element_spec["val"]["c"] == tf.TensorSpec((None,), tf.float32)
    [padded] = dataset.padded_batch(len(values))
    longest = max(len(value or ()) for value in values)
    assert padded["val"]["c"].shape == (len(values), longest)


def test_a_decimal_is_its_text() -> None:
    column = pa.array(["1.50", "-7.25", None]).cast(pa.decimal128(9, 2))
    assert [row["val"]["c"].numpy() for row in a_dataset(column)] == [b"1.50", b"-7.25", b""]
