"""How far a job is and how fast it goes, out of what its session sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from insitu.data.cursor import Cursor
from insitu.progress import Progress
from insitu.session.locality import Share


class Newest(NamedTuple):
    """The newest commit: its number in the log, and the step it belongs to."""

    sequence: int
    step: int


class Speedometer:
    """Counts steps and rows of this process; `clock` gives seconds, ever growing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.state: Literal["starting", "training", "leaving", "done"] = "starting"
        self.steps = 0
        self._clock = clock
        self._began = clock()
        self._first_step: float | None = None
        self._rows = 0
        self._last_step: float | None = None
        self._rate: float | None = None
        self._metrics: Mapping[str, float] = {}
        self._epochs: int | None = None
        self._rows_total: int | None = None

    def aim(self, epochs: int, rows: int) -> None:
        """How many epochs there will be, of how many rows; 0 rows is unknown."""
        self._epochs = epochs
        self._rows_total = rows or None

    def stepped(self, rows: int, metrics: Mapping[str, float]) -> None:
        """An update with `rows` rows over all ranks is done."""
        now = self._clock()
        if self._first_step is None:
            self._first_step = now - self._began
            self.state = "training"
        if self._last_step is not None and now > self._last_step:
            self._rate = rows / (now - self._last_step)
        self._last_step = now
        self.steps += 1
        self._rows += rows
        self.tell(metrics)

    def tell(self, metrics: Mapping[str, float]) -> None:
        """Numbers to show with the progress from now on."""
        self._metrics = {**self._metrics, **{name: float(v) for name, v in metrics.items()}}

    def scalars(self, cursor: Cursor, metrics: Mapping[str, float]) -> dict[str, float]:
        """What is drawn of the update that was done last: `metrics`, and how it goes."""
        speed = {} if self._rate is None else {"insitu/samples_per_second": self._rate}
        return {**metrics, "insitu/epoch": float(cursor.epoch), **speed}

    def progress(
        self,
        cursor: Cursor,
        share: Share,
        newest: Newest | None,
        log_generation: int,
        inexact_epochs: int,
    ) -> Progress:
        """All of it as one value."""
        percent = eta = None
        if self._epochs and self._rows_total:
            whole = self._epochs * self._rows_total
            done = min(cursor.epoch * self._rows_total + cursor.rows, whole)
            percent = 100.0 * done / whole
            elapsed = self._clock() - self._began
            if self._rows and elapsed > 0:
                eta = (whole - done) * elapsed / self._rows
        return Progress(
            epoch=cursor.epoch,
            epochs=self._epochs,
            step=cursor.step,
            rows=cursor.rows,
            rows_total=self._rows_total,
            percent=percent,
            eta_seconds=eta,
            metrics=self._metrics,
            commit=newest.sequence if newest else None,
            commit_step=newest.step if newest else None,
            log_generation=log_generation,
            rows_local=share.rows_local,
            rows_remote=share.rows_remote,
            bytes_local=share.bytes_local,
            bytes_remote=share.bytes_remote,
            first_step_seconds=self._first_step,
            inexact_epochs=inexact_epochs,
            state=self.state,
            updated=time.time(),
        )
