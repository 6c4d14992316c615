"""How far the training is, from what its ranks reported."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from insitu.api.status import TrainerStatus, metrics_of
from insitu.progress import Progress
from insitu_operator.core.observed import Worker

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
    workers: Collection[Worker], before: TrainerStatus | None, *, complete: bool
) -> TrainerStatus | None:
    """The ranks' newest report; `before` where that is younger than `EVERY_SECONDS`.

    The last report of ranks that have all ended is never left out.
    """
    progress = newest(workers)
    if progress is None or progress.updated <= 0:
        status = before
    else:
        status = _status(progress)
        if before and any(w.living for w in workers):
            age = (status.last_updated_time - before.last_updated_time).total_seconds()
            status = status if age >= EVERY_SECONDS else before
    if status and complete:
        done = {"progress_percentage": 100, "estimated_remaining_seconds": 0, "rows_per_second": 0}
        return status.model_copy(update=done)
    return status


def _status(progress: Progress) -> TrainerStatus:
    percent, left = progress.percent, progress.eta_seconds
    return TrainerStatus(
        progress_percentage=None if percent is None else max(0, min(100, int(percent))),
        estimated_remaining_seconds=None if left is None else max(0, round(left)),
        epoch=progress.epoch,
        step=progress.step,
        rows=progress.rows,
        rows_per_second=round(rows_per_second(progress) or 0.0),
        inexact_epochs=progress.inexact_epochs,
        metrics=metrics_of(list(progress.metrics.items())[:256]),
        last_updated_time=datetime.fromtimestamp(int(progress.updated), UTC),
    )
