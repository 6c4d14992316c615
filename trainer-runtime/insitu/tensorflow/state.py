"""What a commit keeps of a TensorFlow training: TensorFlow's own checkpoint, file by file.

Its files are the tensors of the commit's parts, as bytes in pieces, so that every rank writes its
share of them. The skeleton names them:

    {"checkpoint": {"state.index": 1372, ...}, "piece": 33554432}
"""

from __future__ import annotations

import mmap
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from insitu.checkpoint.records import Json
from insitu.checkpoint.tensors import Tensor
from insitu.errors import ConfigurationError
from insitu.session.collective import Collective
from insitu.session.commits import Snapshot

PIECE_BYTES: Final = 32 << 20
_PREFIX: Final = "state"


class TrainingState:
    """A `tf.train.Checkpoint` as the state of a session.

    Args:
        checkpoint: Of everything that is kept, whose variables exist already.
        before: Called on all ranks before each capture, to make equal what may have drifted.
        piece_bytes: How much of a file one rank writes at a time.
    """

    def __init__(
        self, checkpoint: Any, before: Callable[[], None], piece_bytes: int = PIECE_BYTES
    ) -> None:
        self._checkpoint = checkpoint
        self._before = before
        self._piece = piece_bytes

    def capture(self) -> Snapshot:
        self._before()
        with tempfile.TemporaryDirectory(prefix="insitu-") as folder:
            self._checkpoint.write(f"{folder}/{_PREFIX}")
            # The mappings outlive the files' names.
            files = {path.name: _mapped(path) for path in sorted(Path(folder).iterdir())}
        sizes = {name: len(data) for name, data in files.items()}
        places = pieces(sizes, self._piece)

        def encode(name: str) -> Tensor:
            file, start, end = places[name]
            return Tensor("U8", (end - start,), memoryview(files[file])[start:end])

        return Snapshot(
            {"checkpoint": dict(sizes), "piece": self._piece},
            {name: end - start for name, (_, start, end) in places.items()},
            encode,
            {},
        )

    def restore(self, skeleton: Json, tensors: Mapping[str, Tensor]) -> None:
        read_into(self._checkpoint, skeleton, tensors)


def read_into(checkpoint: Any, skeleton: Json, tensors: Mapping[str, Tensor]) -> None:
    """Gives the objects of `checkpoint` the state of a commit.

    Raises:
        ConfigurationError: the commit holds no TensorFlow checkpoint, or one that doesn't fit.
    """
    if not isinstance(skeleton, dict) or not isinstance(files := skeleton.get("checkpoint"), dict):
        raise ConfigurationError(
            "the commit holds no TensorFlow checkpoint: it was made by another framework. Train "
            "under another job name to start afresh"
        )
    sizes = {name: int(str(size)) for name, size in files.items()}
    with tempfile.TemporaryDirectory(prefix="insitu-") as folder:
        for name, (file, _, _) in pieces(sizes, int(str(skeleton["piece"]))).items():
            with (Path(folder) / file).open("ab") as target:
                target.write(tensors[name].data)
        try:
            status = checkpoint.read(f"{folder}/{_PREFIX}")
            status.assert_existing_objects_matched()
            status.expect_partial()  # An optimizer is of no use outside of a training.
        except (AssertionError, ValueError, LookupError) as error:
            raise ConfigurationError(
                f"the commit does not fit the script's model and optimizer: {error}. Train under "
                "another job name to start afresh"
            ) from error


def pieces(sizes: Mapping[str, int], piece: int) -> dict[str, tuple[str, int, int]]:
    """Files cut into pieces of at most `piece` bytes: by name `(file, start, end)`, in order.

    >>> pieces({"a": 5}, 3)
    {'a/000000': ('a', 0, 3), 'a/000001': ('a', 3, 5)}
    """
    return {
        f"{file}/{number:06d}": (file, start, min(start + piece, size))
        for file, size in sizes.items()
        for number, start in enumerate(range(0, size, piece))
    }


def make_equal(variables: Sequence[Any], collective: Collective) -> None:
    """Every variable becomes that of rank 0, to the bit; only those that differ are sent.

    Moving averages and the states of random generators follow each rank's own rows.
    """
    if collective.world_size == 1 or not variables:
        return
    values = [np.asarray(variable.numpy()) for variable in variables]
    sums = np.array([zlib.crc32(value.tobytes()) for value in values], np.int64)
    found = collective.all_gather(sums)
    unlike = np.flatnonzero((found != found[0]).any(axis=0)).tolist()
    if not unlike:
        return
    mine = b"".join(values[place].tobytes() for place in unlike) if not collective.rank else b""
    first = memoryview(collective.all_gather_bytes(mine)[0])
    for place in unlike:
        value = values[place]
        sent, first = first[: value.nbytes], first[value.nbytes :]
        variables[place].assign(np.frombuffer(sent, value.dtype).reshape(value.shape))


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
