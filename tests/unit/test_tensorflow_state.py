"""TensorFlow's checkpoint files as pieces of a commit, with files that stand for TensorFlow's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.checkpoint.tensors import Tensor
from insitu.errors import ConfigurationError
from insitu.tensorflow.state import TrainingState, make_equal, pieces
from tests.ranks import Threads


class Checkpoint:
    """Writes and reads two files, as `tf.train.Checkpoint` does."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def write(self, prefix: str) -> None:
        Path(f"{prefix}.index").write_bytes(b"index")
        Path(f"{prefix}.data-00000-of-00001").write_bytes(self.data)

    def read(self, prefix: str) -> Checkpoint:
        assert Path(f"{prefix}.index").read_bytes() == b"index"
        self.data = Path(f"{prefix}.data-00000-of-00001").read_bytes()
        return self

    def assert_existing_objects_matched(self) -> None:
        if self.data == b"other":
            raise AssertionError("Unresolved object: <Dense>")

    def expect_partial(self) -> None:
        """Here nothing is ever left over."""


def captured(checkpoint: Checkpoint, piece: int = 10) -> tuple[Any, dict[str, Tensor]]:
    calls: list[int] = []
    snapshot = TrainingState(checkpoint, lambda: calls.append(1), piece).capture()
    assert calls == [1]
    tensors = {name: snapshot.encode(name) for name in snapshot.sizes}
    assert {name: tensor.nbytes for name, tensor in tensors.items()} == snapshot.sizes
    return snapshot.skeleton, tensors


@pytest.mark.parametrize("size", [1, 10, 11, 1003])
def test_files_come_back_whole_from_their_pieces(size: int) -> None:
    data = bytes(range(256)) * 4
    skeleton, tensors = captured(Checkpoint(data[:size]))
    assert max(tensor.nbytes for tensor in tensors.values()) <= 10
    fresh = Checkpoint(b"")
    TrainingState(fresh, lambda: None).restore(skeleton, tensors)
    assert fresh.data == data[:size]


def test_pieces_have_names_in_order() -> None:
    assert pieces({"a": 25, "b": 0}, 10) == {
        "a/000000": ("a", 0, 10),
        "a/000001": ("a", 10, 20),
        "a/000002": ("a", 20, 25),
    }


def test_a_checkpoint_of_another_model_or_framework_is_refused() -> None:
    skeleton, tensors = captured(Checkpoint(b"other"))
    state = TrainingState(Checkpoint(b""), lambda: None)
    with pytest.raises(ConfigurationError, match=r"does not fit .*Unresolved object"):
        state.restore(skeleton, tensors)
    with pytest.raises(ConfigurationError, match="made by another framework"):
        state.restore({"model": {}}, {})


class Variable:
    """A variable of one rank."""

    def __init__(self, value: Any) -> None:
        self.value = np.array(value)
        self.assigned = 0

    def numpy(self) -> Any:
        return self.value

    def assign(self, value: Any) -> None:
        self.assigned += 1
        self.value = np.array(value)


def test_only_what_differs_becomes_that_of_rank_0() -> None:
    group = Threads(3)
    ranks = [
        [Variable([1.5, -0.0]), Variable(np.full((2, 3), rank)), Variable(7 if rank else 8)]
        for rank in range(3)
    ]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda rank: make_equal(ranks[rank], group.of(rank)), range(3)))
    for same, shaped, number in ranks:
        assert same.assigned == 0
        assert shaped.value.tolist() == np.zeros((2, 3), int).tolist()
        assert (int(number.value), number.assigned) == (8, 1)
