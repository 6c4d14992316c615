"""Columns as tensors: right, not copied where that can be, and clear where it can't."""

import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu.errors import ConfigurationError, UnsupportedType
from insitu.torch import Batch


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "float32", "float64"])
def test_numbers_keep_their_type_and_share_their_memory(kind: str) -> None:
    column = pa.array(np.arange(5, dtype=kind))
    tensor = batch_of(column)["c"]
    assert tensor.dtype == getattr(torch, kind)
    assert tensor.tolist() == [0, 1, 2, 3, 4]
    assert tensor.data_ptr() == column.buffers()[1].address


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [("uint16", torch.int32), ("uint32", torch.int64), ("uint64", torch.int64)],
)
def test_unsigned_numbers_become_what_torch_can_calculate_with(
    kind: str, becomes: torch.dtype
) -> None:
    tensor = batch_of(pa.array([1, 40_000], kind))["c"]
    assert (tensor.dtype, tensor.tolist()) == (becomes, [1, 40_000])


def test_an_unsigned_number_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(UnsupportedType, match="c: a value does not fit into int64"):
        batch_of(pa.array([2**63], pa.uint64()))["c"]


def test_booleans_are_booleans() -> None:
    assert batch_of(pa.array([True, False, True]))["c"].tolist() == [True, False, True]


LISTS: list[Any] = [
    pa.list_(pa.float32()),
    pa.large_list(pa.float32()),
    pa.list_(pa.float32(), 3),
]


@pytest.mark.parametrize("kind", LISTS, ids=str)
@given(rows=st.integers(0, 6), start=st.integers(0, 3))
def test_lists_of_equal_length_are_a_matrix_also_of_a_slice(
    kind: Any, rows: int, start: int
) -> None:
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    column = pa.array(list(values), kind).slice(start, rows)
    tensor = batch_of(column, shape=(3,))["c"]
    assert tensor.shape == (rows, 3)
    assert np.array_equal(tensor.numpy(), values[start : start + rows])


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(2)], ids=str)
def test_bytes_of_equal_length_are_a_matrix_of_uint8(kind: Any) -> None:
    tensor = batch_of(pa.array([b"ab", b"cd", b"ef"], kind)[1:])["c"]
    assert (tensor.dtype, tensor.tolist()) == (torch.uint8, [[99, 100], [101, 102]])


def test_nested_lists_keep_all_their_dimensions() -> None:
    values = np.arange(12).reshape(2, 3, 2)
    tensor = batch_of(pa.array(values.tolist(), pa.list_(pa.list_(pa.int64(), 2))))["c"]
    assert np.array_equal(tensor.numpy(), values)


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(UnsupportedType, match="c: rows hold 1 to 2 elements"):
        batch_of(pa.array([[1], [1, 2]]))["c"]


def test_text_has_no_tensor_but_is_there() -> None:
    batch = batch_of(pa.array(["a", "b"]))
    with pytest.raises(UnsupportedType, match=r"c: string has no tensor: use batch\.arrow"):
        batch["c"]
    assert batch.arrow.column("c").to_pylist() == ["a", "b"]


@pytest.mark.parametrize("column", [[1.0, None], [[1.0, 2.0], [None, 3.0]]], ids=["flat", "lists"])
def test_nulls_are_refused_unless_nan_will_do(column: list[Any]) -> None:
    batch = batch_of(pa.array(column))
    with pytest.raises(UnsupportedType, match=r"1 of . values are null: .*nulls_as_nan=True"):
        batch["c"]
    assert batch.tensor("c", nulls_as_nan=True).isnan().sum() == 1


def test_nulls_among_integers_and_lists_are_always_refused() -> None:
    with pytest.raises(UnsupportedType, match="values are null: give those rows"):
        batch_of(pa.array([1, None])).tensor("c", nulls_as_nan=True)
    with pytest.raises(
        UnsupportedType, match=r"1 of 2 rows are null.*give those rows a value.*where.*columns"
    ):
        batch_of(pa.array([[1.0], None])).tensor("c", nulls_as_nan=True)


def test_an_unknown_column_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'label'"):
        Batch(pa.record_batch({"label": [1]}), 1, 0, 1)["labels"]


def test_without_pytorch_the_import_says_what_to_install() -> None:
    script = "import sys; sys.modules['torch'] = None; import insitu.torch"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert b"insitu.torch needs PyTorch: pip install 'insitu[torch]'" in done.stderr


def batch_of(column: pa.Array, shape: tuple[int, ...] = ()) -> Batch:
    return Batch(pa.record_batch({"c": column}), len(column), 0, 1, {"c": shape})
