"""The places of a job's ranks, and the trainer processes in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from insitu.progress import Heartbeat
from insitu_operator.core.decision import (
    CreateWorkers,
    DeleteWorkers,
    StopWorkers,
)
from insitu_operator.core.observed import State, Worker
from insitu_operator.local.process import TrainerProcess

_BETWEEN_SIGNALS_SECONDS = 0.2


@dataclass
class _Place:
    """`process` is None until the rank is bound."""

    process: TrainerProcess | None = None
    generation: int | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None


class LocalWorkers:
    """Does what the core decides about workers. Used by the main thread only."""

    def __init__(self, heartbeat: Callable[[int, int], Heartbeat | None]) -> None:
        self._heartbeat = heartbeat
        self._places: dict[int, _Place] = {}

    @property
    def pids(self) -> Mapping[int, int]:
        """Process of the supervisor of each rank that runs."""
        return {
            rank: place.process.pid
            for rank, place in sorted(self._places.items())
            if place.process and place.exit_code is None
        }

    def create(self, action: CreateWorkers) -> None:
        """Makes the missing places, and removes waiting ones beyond."""
        for rank in [r for r, place in self._places.items() if place.process is None]:
            if rank >= action.count:
                del self._places[rank]
        for rank in range(action.count):
            self._places.setdefault(rank, _Place())

    def bind(self, generation: int, start: Callable[[int], TrainerProcess]) -> None:
        """Starts every waiting place through `start(rank)`."""
        for rank, place in sorted(self._places.items()):
            if place.process is None:
                place.process = start(rank)
                place.generation = generation

    def stop(self, action: StopWorkers) -> None:
        """Asks those of the generation, and older, that run and were not asked before."""
        for place in self._places.values():
            if place.process is None or (place.generation or 0) > action.generation:
                continue
            if place.exit_code is None and not place.process.stopping:
                place.process.stop(action.grace_seconds)

    def delete(self, action: DeleteWorkers) -> None:
        """Frees the places whose process has ended."""
        for rank, place in list(self._places.items()):
            if place.ended_at is not None and (place.generation or 0) <= action.generation:
                del self._places[rank]

    def kill(self) -> None:
        """Ends every process now, and returns when they are gone."""
        running = [
            place.process
            for place in self._places.values()
            if place.process is not None and place.process.exit_code() is None
        ]
        for _ in range(2 if running else 0):
            for process in running:
                process.hurry()
            # Two signals at once would arrive as one.
            time.sleep(_BETWEEN_SIGNALS_SECONDS)
        for process in running:
            process.kill()

    def observe(self) -> tuple[Worker, ...]:
        """All places, by rank."""
        return tuple(self._worker(rank, place) for rank, place in sorted(self._places.items()))

    def _worker(self, rank: int, place: _Place) -> Worker:
        process = place.process
        if process is None or place.generation is None:
            return Worker(rank, State.WAITING)
        if place.exit_code is None and (code := process.exit_code()) is not None:
            place.exit_code, place.ended_at = code, datetime.now(UTC)
        heartbeat = self._heartbeat(place.generation, rank)
        lines: tuple[str, ...] = ()
        if place.exit_code:
            lines = (heartbeat.last_lines if heartbeat else ()) or process.last_lines()
        return Worker(
            rank=rank,
            state=_state(place.exit_code, heard=heartbeat is not None),
            generation=place.generation,
            machine="localhost",
            ended_at=place.ended_at,
            exit_code=place.exit_code,
            last_lines=lines,
            stopping=process.stopping,
            heard=heartbeat is not None,
            progress=heartbeat.progress if heartbeat else None,
        )


def _state(exit_code: int | None, *, heard: bool) -> State:
    if exit_code is None:
        return State.RUNNING if heard else State.STARTING
    return State.SUCCEEDED if exit_code == 0 else State.FAILED
