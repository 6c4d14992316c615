"""Waits for something that may never end, for so long and no longer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from insitu.errors import PeerLost


class Patience:
    """Calls functions in a thread of its own; the caller waits for at most `seconds`.

    TensorFlow has time-outs for its collectives, but may crash when one is reached. Here a
    collective that does not end is left behind, thread and all: what waits in it is lost anyway.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._work: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._lost = False
        # A daemon, because at the end of the process nobody may wait for it.
        threading.Thread(target=self._run, daemon=True).start()

    def __call__(self, work: Callable[[], Any], doing: str) -> Any:
        """What `work` gives, or its exception.

        Raises:
            PeerLost: it took too long, now or an earlier time.
        """
        if self._lost:
            raise PeerLost("another rank went away before")
        self._work.put(work)
        try:
            value, error = self._done.get(timeout=self._seconds)
        except queue.Empty:
            self._lost = True
            raise PeerLost(
                f"another rank stopped answering: {doing} took longer than {self._seconds:g} s"
            ) from None
        if error is not None:
            raise error
        return value

    def _run(self) -> None:
        while True:
            work = self._work.get()
            try:
                self._done.put((work(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                self._done.put((None, error))
