"""What can be said of TensorFlow's workers without any."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from insitu.errors import ConfigurationError, PeerLost
from insitu.tensorflow.strategy import first_line, make_strategy, peers

WORKERS = (("127.0.0.1", 1), ("127.0.0.2", 1))


class OpError(Exception):
    """As TensorFlow's: the root of its own errors."""


class UnavailableError(OpError):
    pass


ERRORS = SimpleNamespace(
    OpError=OpError,
    UnavailableError=UnavailableError,
    DeadlineExceededError=UnavailableError,
    AbortedError=UnavailableError,
    CancelledError=UnavailableError,
)


def test_a_tensorflow_without_several_workers_is_refused_only_where_there_are_several() -> None:
    default = object()
    distribute = SimpleNamespace(get_strategy=lambda: default)
    tf = SimpleNamespace(distribute=distribute, __version__="2.30.0")
    with pytest.raises(ConfigurationError, match=r"2\.30\.0 has no MultiWorkerMirroredStrategy"):
        make_strategy(tf, WORKERS, 0, 1.0)
    assert make_strategy(tf, WORKERS[:1], 0, 1.0) is default


def test_only_a_collective_that_fails_is_the_fault_of_another_rank() -> None:
    tf = SimpleNamespace(errors=ERRORS)
    for error in (UnavailableError("gone"), OpError("Collective ops is aborted by: gone")):
        with (
            pytest.raises(PeerLost, match=r"while adding gradients: .*gone"),
            peers(tf, "adding gradients"),
        ):
            raise error
    mine = "Collective ops is aborted by: Shape mismatch in the collective instance 2"
    for text in ("out of memory", mine):
        with pytest.raises(OpError, match=text), peers(tf, "adding gradients"):
            raise OpError(text)


def test_the_line_of_an_error_that_tells_most_is_shown() -> None:
    long = "Graph execution error:\nDetected at node 'x'\nCollective ops is aborted by: reset\nmore"
    assert first_line(Exception(long)) == "Collective ops is aborted by: reset"
    assert first_line(Exception("")) == "Exception"
