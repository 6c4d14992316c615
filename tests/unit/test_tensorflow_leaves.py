"""Which tensors columns become, and of which flat arrays they are made. Needs no TensorFlow."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from insitu.errors import ConfigurationError, UnsupportedType
from insitu.tensorflow.flat import arrays
from insitu.tensorflow.leaves import leaves
from insitu.tensorflow.reading import Leaf, Reading


def leaf_and_arrays(
    column: pa.Array, reading: Reading | None = None, *, name: str = "c"
) -> tuple[list[Leaf], list[list[Any]]]:
    reading = reading or Reading()
    batch = pa.record_batch({name: column})
    found = leaves(batch.schema, reading, batch)
    return found, [array.tolist() for array in arrays(batch, found, reading)]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64()),
    ],
)
def test_numbers_keep_their_type(kind: pa.DataType) -> None:
    [leaf], flat = leaf_and_arrays(pa.array([1, 2]).cast(kind))
    assert leaf == Leaf(("c",), str(np.dtype(kind.to_pandas_dtype())), 0, ())
    assert flat == [[1, 2]]


def test_text_and_bytes_are_strings() -> None:
    for column in (pa.array(["é", ""]), pa.array(["é", ""], pa.large_string())):
        assert leaf_and_arrays(column) == ([Leaf(("c",), "string", 0, ())], [["é".encode(), b""]])
    assert leaf_and_arrays(pa.array([b"\0a", b"b"]))[1] == [[b"\0a", b"b"]]
    assert leaf_and_arrays(pa.array(["a", "b", "a"]).dictionary_encode())[1] == [[b"a", b"b", b"a"]]


def test_bools_times_and_uuids_have_a_tensor_each() -> None:
    assert leaf_and_arrays(pa.array([True, False]))[1] == [[True, False]]
    moment = datetime(1970, 1, 2, tzinfo=UTC)
    [leaf], flat = leaf_and_arrays(pa.array([moment], pa.timestamp("ms")))
    assert (leaf.dtype, flat) == ("int64", [[86_400_000]])
    [leaf], flat = leaf_and_arrays(pa.array([moment.date()], pa.date32()))
    assert (leaf.dtype, flat) == ("int32", [[1]])
    ids = [uuid.uuid4() for _ in range(3)]
    column = pa.array([each.bytes for each in ids], pa.binary(16)).cast(pa.uuid())
    assert leaf_and_arrays(column.slice(1))[1] == [[str(each).encode() for each in ids[1:]]]


def test_lists_of_one_length_are_dense_and_others_ragged() -> None:
    [leaf], flat = leaf_and_arrays(pa.array([[1, 2], [3, 4]]))
    assert (leaf.shape, flat) == ((2,), [[[1, 2], [3, 4]]])
    [leaf], flat = leaf_and_arrays(pa.array([[1, 2], [], [3]]))
    assert (leaf.shape, leaf.lists, flat) == (None, 1, [[1, 2, 3], [0, 2, 2, 3]])
    [leaf], flat = leaf_and_arrays(pa.array([[[1], [2]], [[3], [4]]]))
    assert (leaf.shape, flat) == ((2, 1), [[[[1], [2]], [[3], [4]]]])
    [leaf], flat = leaf_and_arrays(pa.array([[[1], []], [[3, 4]]]))
    assert (leaf.lists, flat) == (2, [[1, 3, 4], [0, 2, 3], [0, 1, 1, 3]])


def test_a_slice_of_a_column_is_read_as_itself() -> None:
    lists = pa.array([[9], [1, 2], [3]]).slice(1)
    assert leaf_and_arrays(lists)[1] == [[1, 2, 3], [0, 2, 3]]
    octets = pa.array([b"zz", b"ab", b"cd"]).slice(1)
    _, flat = leaf_and_arrays(octets, Reading(shapes={"c": (2,)}))
    assert flat == [[[97, 98], [99, 100]]]


def test_lists_of_text_stay_ragged_whatever_the_first_rows_look_like() -> None:
    [leaf], _ = leaf_and_arrays(pa.array([["a", "b"], ["c", "d"]]))
    assert leaf.shape is None


def test_structs_lists_of_structs_and_maps_are_dictionaries() -> None:
    column = pa.array([{"a": 1, "b": [{"x": 1.5}, {"x": 2.5}]}, {"a": 2, "b": []}])
    found, flat = leaf_and_arrays(column)
    assert [leaf.name for leaf in found] == ["c.a", "c.b.x"]
    assert flat == [[1, 2], [1.5, 2.5], [0, 2, 2]]
    column = pa.array([[("k", 1)], [], [("l", 2)]], pa.map_(pa.string(), pa.int32()))
    found, flat = leaf_and_arrays(column)
    assert [leaf.name for leaf in found] == ["c.key", "c.value"]
    assert flat == [[b"k", b"l"], [0, 1, 1, 2], [1, 2], [0, 1, 1, 2]]


def test_a_null_is_refused_until_something_is_said_for_it() -> None:
    column = pa.array([1, None])
    with pytest.raises(UnsupportedType, match=r"c: 1 of 2 values are null.*nulls=\{'c'"):
        leaf_and_arrays(column)
    assert leaf_and_arrays(column, Reading(nulls={"c": -1}))[1] == [[1, -1]]
    assert leaf_and_arrays(column, Reading(nulls="fill"))[1] == [[1, 0]]
    with pytest.raises(ConfigurationError, match="'x' is no value of 'c'"):
        leaf_and_arrays(column, Reading(nulls={"c": "x"}))


def test_what_is_filled_in_depends_on_the_type() -> None:
    fill = Reading(nulls="fill")
    assert np.isnan(leaf_and_arrays(pa.array([None, 1.5]), fill)[1][0][0])
    assert leaf_and_arrays(pa.array(["a", None]), fill)[1] == [[b"a", b""]]
    assert leaf_and_arrays(pa.array([None, True]), fill)[1] == [[False, True]]
    assert leaf_and_arrays(pa.array([[1], None]), fill)[1] == [[1], [0, 1, 1]]
    assert leaf_and_arrays(pa.array([{"a": 1}, None]), fill)[1] == [[1, 0]]
    assert leaf_and_arrays(pa.nulls(2), fill)[1] == [[b"", b""]]
    ids = pa.array([b"\1" * 16, None], pa.binary(16)).cast(pa.uuid())
    assert leaf_and_arrays(ids, fill)[1][0][1] == b""
    with pytest.raises(UnsupportedType, match="1 of 2 values are null"):
        leaf_and_arrays(pa.array([[1], None]))


def test_a_row_unlike_the_first_ones_is_refused_with_the_way_out() -> None:
    first = pa.record_batch({"c": pa.array([[1, 2]])})
    found = leaves(first.schema, Reading(), first)
    with pytest.raises(UnsupportedType, match=r"a list of 1 .* have 2: give shapes=\{'c': None\}"):
        arrays(pa.record_batch({"c": pa.array([[1, 2], [3]])}), found, Reading())


def test_shapes_that_are_given_win() -> None:
    [leaf], flat = leaf_and_arrays(pa.array([[1, 2]]), Reading(shapes={"c": None}))
    assert (leaf.shape, flat) == (None, [[1, 2], [0, 2]])
    with pytest.raises(ConfigurationError, match="has 1 dimensions a row, not 2"):
        leaf_and_arrays(pa.array([[1, 2]]), Reading(shapes={"c": (1, 2)}))
    with pytest.raises(ConfigurationError, match=r"no column 'd' is read \(there is: c\)"):
        leaf_and_arrays(pa.array([[1, 2]]), Reading(shapes={"d": (2,)}))


def test_without_rows_lists_are_ragged() -> None:
    [leaf] = leaves(pa.schema([("c", pa.list_(pa.float32()))]), Reading(), None)
    assert leaf == Leaf(("c",), "float32", 1, None)


def test_a_decimal_has_no_tensor_until_it_is_cast() -> None:
    column = pa.array([Decimal("1.5")])
    with pytest.raises(UnsupportedType, match=r"c: decimal128.*cast=\{'c': pa.float64\(\)\}"):
        leaf_and_arrays(column)
    assert leaf_and_arrays(column, Reading(cast={"c": pa.float64()}))[1] == [[1.5]]
    with pytest.raises(ConfigurationError, match="cast: no column 'd'"):
        leaf_and_arrays(column, Reading(cast={"d": pa.float64()}))
    with pytest.raises(UnsupportedType, match="c: can't be cast to timestamp"):
        leaf_and_arrays(pa.array([[1]]), Reading(cast={"c": pa.timestamp("s")}))


def test_octets_are_the_unsigned_numbers_of_the_original() -> None:
    original = Reading(original=True)
    [leaf], flat = leaf_and_arrays(pa.array([b"\xff", b"ab"]), original)
    assert (leaf.dtype, leaf.lists, flat) == ("uint8", 1, [[255, 97, 98], [0, 1, 3]])
    [leaf], flat = leaf_and_arrays(pa.array([-1, 1], pa.int8()), original)
    assert (leaf.dtype, flat) == ("uint8", [[255, 1]])
    _, flat = leaf_and_arrays(pa.array([b"ab", None]), Reading(original=True, nulls="fill"))
    assert flat == [[97, 98], [0, 2, 2]]


def test_an_unknown_way_with_nulls_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="neither 'refuse' nor 'fill'"):
        Reading(nulls="drop")  # type: ignore[arg-type]
