"""Rows a second of each rank, smoothed."""

from __future__ import annotations

from datetime import datetime

from insitu_operator.local.run import Snapshot

_HALF = 0.5
_SHORTEST_SECONDS = 1.0


class Rates:
    """An exponential mean over about the last seconds."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], tuple[datetime, int]] = {}
        self._rate: dict[int, float] = {}

    def note(self, snapshot: Snapshot) -> None:
        """Takes in what the ranks have read by now."""
        for worker in snapshot.observed.workers:
            if not worker.living:
                self._rate.pop(worker.rank, None)
            if not worker.living or worker.progress is None or worker.generation is None:
                continue
            key = worker.generation, worker.rank
            rows = worker.progress.rows_local + worker.progress.rows_remote
            at, before = self._last.setdefault(key, (snapshot.at, rows))
            seconds = (snapshot.at - at).total_seconds()
            if seconds < _SHORTEST_SECONDS:
                continue
            fresh = (rows - before) / seconds
            old = self._rate.get(worker.rank, fresh)
            self._rate[worker.rank] = old * _HALF + fresh * (1 - _HALF)
            self._last[key] = snapshot.at, rows

    def of(self, rank: int) -> float:
        """Rows a second; 0 before anything is known."""
        return self._rate.get(rank, 0.0)
