"""Takes the scalars of every step, and brings them to the store without holding a step up."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from insitu.checkpoint import Store
from insitu.errors import InsituError
from insitu.scalars.events import Scalars, encode
from insitu.scalars.segments import Segment

_log = logging.getLogger("insitu")

_MOST_STEPS: Final = 1024
"""Of one segment."""
_MOST_WAITING: Final = 64
"""Segments that wait for a store that does not answer; the oldest is dropped for one more."""
_SETTLE_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 10.0


class Recorder:
    """The scalars of one generation, from its rank 0.

    A segment is closed as a commit begins, and every `every_seconds`, and written by a thread of
    its own while the parts of the commit are written. What goes wrong there is told once and never
    reaches the training.

    Args:
        store: Where commits go too.
        job: The job's name.
        fence: The number of this process's fence in the commit log; nobody else records for it.
        generation: Of this process.
        after: The step it goes on from.
        every_seconds: The longest that a step waits for its segment to be closed.
        now: The wall clock, in seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        job: str,
        *,
        fence: int,
        generation: int,
        after: int,
        every_seconds: float = 30.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._job = job
        self._start = fence, generation
        self._after = after
        self._every = every_seconds
        self._now = now
        self._open: list[Scalars] = []
        self._closed: deque[tuple[Segment, list[Scalars]]] = deque()
        self._sequence = 0
        self._committed = after
        self._failing = False
        self._told = False
        self._ending = False
        self._changed = threading.Condition()
        # A daemon, because no process may wait for a store that does not answer.
        self._thread = threading.Thread(target=self._write_all, name="scalars", daemon=True)
        self._thread.start()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes `values` of an update; returns at once."""
        with self._changed:
            if self._open and self._open[-1].step <= self._committed < step:
                self._cut()
            self._open.append(Scalars(step, self._now(), dict(values)))
            if len(self._open) >= _MOST_STEPS:
                self._cut()

    def commit(self, step: int) -> None:
        """A commit of all steps up to `step` begins; returns at once."""
        with self._changed:
            self._committed = step
            self._cut()

    def settle(self) -> None:
        """Waits for what was closed to be written; not for a store that fails, nor for long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed or self._failing, _SETTLE_SECONDS)

    def close(self) -> None:
        """Writes what is left, unless that takes long. Safe to call twice."""
        with self._changed:
            self._cut()
            self._ending = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_SECONDS)

    def _cut(self) -> None:
        if not self._open:
            return
        steps = [scalars.step for scalars in self._open]
        segment = Segment(*self._start, self._after, self._sequence, min(steps), max(steps))
        if len(self._closed) == _MOST_WAITING:
            self._closed.popleft()
            self._tell("more wait than there is room for, and the oldest are dropped")
        self._closed.append((segment, self._open))
        self._sequence += 1
        self._open = []
        self._changed.notify_all()

    def _write_all(self) -> None:
        encode([])  # What it imports is there before the first commit.
        while (taken := self._next()) is not None:
            last_try = self._ending
            written = self._write(*taken)
            with self._changed:
                self._failing = not written
                # Others may have pushed it out meanwhile.
                if written and self._closed and self._closed[0] is taken:
                    self._closed.popleft()
                self._changed.notify_all()
                if last_try and not written:
                    return

    def _next(self) -> tuple[Segment, list[Scalars]] | None:
        """The oldest segment that is not written; None at the end."""
        with self._changed:
            if self._failing and not self._ending:
                self._changed.wait(self._every)
            while not self._closed and not self._ending:
                if not self._changed.wait(self._every):
                    self._cut()
            return self._closed[0] if self._closed else None

    def _write(self, segment: Segment, steps: list[Scalars]) -> bool:
        try:
            # Where there is one already an earlier answer got lost.
            self._store.create_if_absent(segment.name(self._job), encode(steps))
        except (InsituError, OSError) as error:
            self._tell(str(error))
            return False
        return True

    def _tell(self, problem: str) -> None:
        if not self._told:
            self._told = True
            _log.warning("curves may get gaps, the training goes on: %s", problem)
