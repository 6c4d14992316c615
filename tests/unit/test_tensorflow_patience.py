"""A call that may never end is waited for, for so long and no longer."""

from __future__ import annotations

import threading

import pytest

from insitu.errors import PeerLost
from insitu.tensorflow.patience import Patience


def test_results_and_errors_are_those_of_the_call() -> None:
    patience = Patience(30)
    assert [patience(lambda n=n: n * 2, "doubling") for n in range(3)] == [0, 2, 4]  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        patience(lambda: 1 // 0, "dividing")
    assert patience(lambda: "still there", "asking") == "still there"


def test_what_never_ends_is_left_behind_and_never_asked_again() -> None:
    patience, never = Patience(0.05), threading.Event()
    with pytest.raises(PeerLost, match=r"stopped answering: waiting took longer than 0\.05 s"):
        patience(never.wait, "waiting")
    with pytest.raises(PeerLost, match="went away before"):
        patience(lambda: 1, "counting")
    never.set()
