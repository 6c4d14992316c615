"""How far the training is, from what its ranks reported."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from insitu.api.status import TrainerStatus, counted, metrics_of
from insitu.progress import Progress
from insitu_operator.core.observed import Worker

_LATEST = 253402300799
"""The end of the year 9999, in seconds since the epoch of 1970."""

EVERY_SECONDS = 5.0
"""The status follows the ranks no closer than this."""


def newest(workers: Iterable[Worker]) -> Progress | None:
    """The furthest rank speaks for all: every rank holds the whole cursor."""
    reports = [w.progress for w in workers if w.progress is not None]
    return max(reports, key=lambda p: (p.step, p.updated), default=None)


def rows_per_second(progress: Progress) -> float | None:
    """Of all ranks, at the speed that the reported time left was computed with."""
    if not progress.eta_seconds or not progress.rows_total or not progress.epochs:
        return None
    done = progress.epoch * progress.rows_total + progress.rows
    return max(0.0, (progress.epochs * progress.rows_total - done) / progress.eta_seconds)


def trainer_status(
    workers: Collection[Worker], before: TrainerStatus | None, now: datetime, *, complete: bool
) -> TrainerStatus | None:
    """The ranks' newest report; `before` where that is younger than `EVERY_SECONDS`.

    The last report of ranks that have all ended is never left out.
    """
    found = _found(workers)
    waits = withheld_for(workers, before, now) is not None
    status = before if found is None or found == before or waits else found
    if status and complete:
        done = {"progress_percentage": 100, "estimated_remaining_seconds": 0, "rows_per_second": 0}
        return status.model_copy(update=done)
    return status


def withheld_for(
    workers: Collection[Worker], before: TrainerStatus | None, now: datetime
) -> float | None:
    """Seconds until the ranks' newest report may follow `before`; None if nothing has to wait.

    Clocks of machines may differ: that of the trainers counts, and ours where they say no more.
    """
    found = _found(workers)
    if before is None or found is None or found == before or not any(w.living for w in workers):
        return None
    newest_time = max(found.last_updated_time, now)
    left = EVERY_SECONDS - (newest_time - before.last_updated_time).total_seconds()
    # More is left only where the machine that told `before` is ahead of the others.
    return left if 0 < left <= EVERY_SECONDS else None


def _found(workers: Iterable[Worker]) -> TrainerStatus | None:
    progress = newest(workers)
    return None if progress is None or progress.updated <= 0 else _status(progress)


def _status(progress: Progress) -> TrainerStatus:
    percent, left = progress.percent, progress.eta_seconds
    return TrainerStatus(
        progress_percentage=None if percent is None else min(100, counted(percent)),
        estimated_remaining_seconds=None if left is None else counted(round(left, 0)),
        epoch=counted(progress.epoch),
        step=counted(progress.step),
        rows=counted(progress.rows),
        rows_per_second=counted(round(rows_per_second(progress) or 0.0, 0)),
        inexact_epochs=counted(progress.inexact_epochs),
        metrics=metrics_of(list(progress.metrics.items())[:256]),
        last_updated_time=datetime.fromtimestamp(min(counted(progress.updated), _LATEST), UTC),
    )
