from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any, TypeGuard

import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from insitu.checkpoint.tensors import (
    DTYPES,
    Tensor,
    decode_tensors,
    encode_tensors,
    merged,
    share,
)
from insitu.checkpoint.tree import join, split
from insitu.errors import ConfigurationError, StoreError


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    size = math.prod(shape) * DTYPES[dtype] // 8
    return Tensor(dtype, shape, draw(st.binary(min_size=size, max_size=size)))


NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__")
STATES = st.dictionaries(NAMES, tensors(), max_size=6)


def content(tensor: Tensor) -> tuple[str, tuple[int, ...], bytes]:
    return tensor.dtype, tensor.shape, bytes(tensor.data)


@given(STATES)
def test_tensors_of_every_type_survive(state: dict[str, Tensor]) -> None:
    back = decode_tensors(b"".join(encode_tensors(state)))
    assert {n: content(t) for n, t in back.items()} == {n: content(t) for n, t in state.items()}


@given(STATES)
def test_the_safetensors_package_reads_what_is_written(state: dict[str, Tensor]) -> None:
    read: list[tuple[str, Any]] = safetensors.deserialize(  # type: ignore[no-untyped-call]
        b"".join(encode_tensors(state))
    )
    found = {n: (t["dtype"], tuple(t["shape"]), bytes(t["data"])) for n, t in read}
    assert found == {n: content(t) for n, t in state.items()}


def test_what_the_safetensors_package_writes_is_read() -> None:
    from safetensors.numpy import save

    arrays = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.array([], "<i8")}
    back = decode_tensors(save(arrays, metadata={"format": "np"}))
    assert {n: t.shape for n, t in back.items()} == {"a": (2, 3), "b": (0,)}
    assert np.array_equal(np.frombuffer(back["a"].data, "<f4").reshape(2, 3), arrays["a"])


def test_a_buffer_is_written_without_a_copy() -> None:
    array = np.zeros((3, 4), "<f8")
    _, piece = encode_tensors({"a": Tensor("F64", (3, 4), array.data)})
    array[0, 0] = 7.0
    assert np.frombuffer(piece, "<f8")[0] == 7.0


@pytest.mark.parametrize("data", [b"", b"\x05\0\0\0\0\0\0\0[1,2]", b"\xff" * 20, b"\2" + b"\0" * 7])
def test_bytes_that_are_no_safetensors_file_are_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match="no safetensors file"):
        decode_tensors(data)


def test_a_tensor_of_the_wrong_length_or_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"F32\[2\] has 8 bytes, not 7"):
        Tensor("F32", (2,), b"1234567")
    with pytest.raises(ValueError, match="no type of the safetensors format"):
        Tensor("float32", (0,), b"")


SIZES = st.dictionaries(st.text(max_size=5), st.integers(0, 1000), max_size=30)


@given(SIZES, st.integers(1, 9))
def test_each_tensor_is_written_by_one_rank(sizes: dict[str, int], world_size: int) -> None:
    names = share(sizes, world_size)
    assert len(names) == world_size
    assert sorted(name for mine in names for name in mine) == sorted(sizes)


@given(SIZES, st.integers(1, 9))
def test_shares_are_balanced_by_bytes(sizes: dict[str, int], world_size: int) -> None:
    loads = [sum(sizes[name] for name in mine) for mine in share(sizes, world_size)]
    assert max(loads) <= sum(sizes.values()) / world_size + max(sizes.values(), default=0)


@given(SIZES, st.integers(1, 9))
def test_every_rank_finds_the_same_shares(sizes: dict[str, int], world_size: int) -> None:
    assert share(dict(reversed(sizes.items())), world_size) == share(sizes, world_size)


def test_the_parts_of_all_ranks_are_the_whole_state() -> None:
    parts = [{"a": Tensor("U8", (1,), b"1")}, {}, {"b": Tensor("U8", (1,), b"2")}]
    assert sorted(merged(parts)) == ["a", "b"]


def is_tensor(value: object) -> TypeGuard[SimpleNamespace]:
    return isinstance(value, SimpleNamespace)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.builds(SimpleNamespace, value=st.integers())
)
KEYS = st.text(max_size=3) | st.integers() | st.tuples(st.integers(), st.booleans())
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$tensor", "$dict", "a"]), inner)
    ),
)


@given(TREES)
def test_state_survives_as_json_and_tensors(state: Any) -> None:
    skeleton, leaves = split(state, is_tensor)
    back = join(json.loads(json.dumps(skeleton, allow_nan=False)), leaves)
    assert back == state
    assert repr(back) == repr(state)


def test_not_a_number_survives() -> None:
    assert math.isnan(join(split(math.nan, is_tensor)[0], {}))


def test_tensors_are_named_by_their_path() -> None:
    state = {
        "model": {"fc.weight": SimpleNamespace()},
        "optimizer": {"state": {0: [SimpleNamespace()]}},
    }
    assert list(split(state, is_tensor)[1]) == ["model/fc.weight", "optimizer/state/0/0"]


def test_paths_that_look_alike_stay_two_tensors() -> None:
    state = {"a/b": SimpleNamespace(value=1), "a": {"b": SimpleNamespace(value=2)}}
    skeleton, leaves = split(state, is_tensor)
    assert len(leaves) == 2
    assert join(skeleton, leaves) == state


def test_a_value_that_needs_pickle_is_refused_with_its_path() -> None:
    with pytest.raises(ConfigurationError, match=r"model/0/hook is a builtins\.object"):
        split({"model": [{"hook": object()}]}, is_tensor)


def test_a_missing_tensor_is_named() -> None:
    with pytest.raises(StoreError, match="no tensor 'fc'"):
        join({"$tensor": "fc"}, {})
