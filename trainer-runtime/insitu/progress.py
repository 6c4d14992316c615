"""How a trainer is doing, as values: session to supervisor to whoever started the job.

The session replaces one small file; the supervisor reads it and posts it, in a `Heartbeat`, to
the URL it was given. The answer carries the job's current generation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError


class Progress(BaseModel):
    """One rank's view of its job.

    Attributes:
        epoch: Passes over the data that are complete.
        epochs: How many there will be; None while the script has not said.
        step: Optimizer updates of the whole job.
        rows: Rows of this epoch, of all ranks, that are part of the parameters.
        rows_total: Rows of an epoch; None where the database can't say.
        percent: Of the whole job, 0 to 100; None while either total is unknown.
        eta_seconds: Until the end of the job, at the speed since this process began.
        metrics: What the script reported last.
        commit: Sequence number of the newest commit in the log; None before the first.
        commit_step: The step that commit belongs to.
        log_generation: The highest generation that has opened the log; 0 before it was read. A
            newer one than the rank's own has taken over.
        rows_local: Rows this rank took from its own database node; `bytes_local` likewise.
        rows_remote: Rows this rank took from other database nodes.
        first_step_seconds: From the start of the session to its first update.
        inexact_epochs: Epochs during which rows are known to have come or gone.
        state: `starting` until the first update; `leaving` once asked to stop.
        updated: Seconds since the epoch of 1970.
    """

    # A loss that became NaN is news, and JSON has no number for it.
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")

    epoch: int = 0
    epochs: int | None = None
    step: int = 0
    rows: int = 0
    rows_total: int | None = None
    percent: float | None = None
    eta_seconds: float | None = None
    metrics: Mapping[str, float] = {}
    commit: int | None = None
    commit_step: int | None = None
    log_generation: int = 0
    rows_local: int = 0
    rows_remote: int = 0
    bytes_local: int = 0
    bytes_remote: int = 0
    first_step_seconds: float | None = None
    inexact_epochs: int = 0
    state: Literal["starting", "training", "leaving", "done"] = "starting"
    updated: float = 0.0


class Heartbeat(BaseModel):
    """What the supervisor posts every second, or as often as it is asked to; at once when the
    state changes; and once more when the command has ended.

    `exit_code` is None while the command runs; 128 + n says that signal n ended it. `last_lines`
    are the end of its output, only sent with the exit code.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    job: str
    generation: int
    rank: int
    progress: Progress | None = None
    exit_code: int | None = None
    last_lines: tuple[str, ...] = ()


LARGEST = 2**53 - 1
"""Of all numbers that come from outside: the largest that JSON carries everywhere."""

_LATEST = 253402300799.0
"""The last second of the year 9999, in seconds since the epoch of 1970."""


def received(text: bytes | str, now: float) -> Heartbeat:
    """A heartbeat as it came from outside, at `now` in seconds since the epoch of 1970.

    A report from the future is one of now: somebody's clock is ahead.

    Raises:
        ValueError: it is no heartbeat, or a number of it can't be true; says which.
    """
    try:
        heartbeat = Heartbeat.model_validate_json(text)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}") from None
    progress = heartbeat.progress
    _check("", heartbeat)
    if progress is None:
        return heartbeat
    _check("progress.", progress)
    if progress.log_generation > heartbeat.generation + MOST_AHEAD:
        raise ValueError(
            f"progress.log_generation: {progress.log_generation} is more than {MOST_AHEAD}"
            f" generations ahead of {heartbeat.generation}"
        )
    if progress.updated <= now:
        return heartbeat
    told = progress.model_copy(update={"updated": min(now, _LATEST)})
    return heartbeat.model_copy(update={"progress": told})


MOST_AHEAD = 1_000_000
"""Generations that a log may be ahead of a rank: more than a job can start in its life, and too few
to use up all numbers."""


def _check(where: str, value: BaseModel) -> None:
    for name, number in value:
        if isinstance(number, int | float) and not 0 <= number <= LARGEST:
            raise ValueError(f"{where}{name}: {number} is not between 0 and {LARGEST}")


class HeartbeatReply(BaseModel):
    """`generation` is the job's current one; a trainer of an older one has to stop.

    `every_seconds` is the pace that is asked for: how long from one heartbeat to the next.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    generation: int
    every_seconds: float = 1.0


def read_progress(path: Path) -> Progress | None:
    """None before the session wrote anything."""
    try:
        return Progress.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


class ProgressFile:
    """Replaces a file at most every half second, and at once where the state changes.

    `clock` counts seconds; a failed write never ends a training, so a full disk is ignored.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], float] = time.monotonic,
        every_seconds: float = 0.5,
    ) -> None:
        self._path = path
        self._clock = clock
        self._every = every_seconds
        self._last: float | None = None

    def write(self, progress: Callable[[], Progress], *, at_once: bool = False) -> None:
        """`progress` is only asked for when it is going to be written."""
        now = self._clock()
        early = self._last is not None and now - self._last < self._every
        if self._path is None or (early and not at_once):
            return
        self._last = now
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            fresh.write_text(progress().model_dump_json(), encoding="utf-8")
            fresh.replace(self._path)
        except OSError:
            return
