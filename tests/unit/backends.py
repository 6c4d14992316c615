"""Two worlds that workers live in: processes of one machine, and pods that a Job controller keeps.

Each does what the core decides about workers, and holds it to its rules while doing so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from insitu_operator.core.decision import (
    Action,
    BindWorkers,
    CreateWorkers,
    DeleteWorkers,
    StopWorkers,
)
from insitu_operator.core.observed import State, Worker


class Backend(Protocol):
    """`workers` has at most one worker a rank: the one that a test means by the rank."""

    workers: dict[int, Worker]

    def all(self) -> tuple[Worker, ...]:
        """As a backend would observe them."""
        ...

    def live(self, now: datetime, leaves_with: int, /) -> None:
        """What workers do by themselves between two passes."""
        ...

    def do(self, action: Action, generation: int, now: datetime) -> None:
        """`generation` is that of the record."""
        ...


class Processes:
    """Places outlive generations, and a worker that was stopped stays as an ended one."""

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}

    def all(self) -> tuple[Worker, ...]:
        return tuple(self.workers.values())

    def live(self, now: datetime, leaves_with: int, /) -> None:
        for rank, worker in self.workers.items():
            if worker.living and worker.stopping:
                self.workers[rank] = ended(worker, leaves_with, now)
            else:
                self.workers[rank] = _running(worker, now)

    def do(self, action: Action, generation: int, now: datetime) -> None:
        match action:
            case CreateWorkers(count):
                for rank in [r for r, w in self.workers.items() if w.state is State.WAITING]:
                    if rank >= count:
                        del self.workers[rank]
                for rank in range(count):
                    self.workers.setdefault(rank, Worker(rank, State.WAITING))
            case BindWorkers():
                _check_bind(action, generation, self.all())
                for rank, worker in self.workers.items():
                    self.workers[rank] = _bound(worker, generation, now)
            case StopWorkers(upto):
                self.workers = {r: _asked(w, upto) for r, w in self.workers.items()}
            case DeleteWorkers(upto):
                self.workers = {
                    r: w
                    for r, w in self.workers.items()
                    if not (w.ended and (w.generation or 0) <= upto)
                }
            case _:
                pass


class Pods:
    """A Job a generation: stopped pods vanish, and the controller replaces those that ended early.

    `beside` are pods that share a rank with a worker of `workers`: replacements, and what an
    earlier generation has left.
    """

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self.beside: list[Worker] = []
        self._jobs: dict[int, int] = {}

    def all(self) -> tuple[Worker, ...]:
        return (*self.workers.values(), *self.beside)

    def live(self, now: datetime, _leaves_with: int, /) -> None:
        self._keep([_running(w, now) for w in self.all() if not (w.living and w.stopping)])
        for generation, count in self._jobs.items():
            for rank in range(count):
                mine = [w for w in self.all() if (w.rank, w.generation) == (rank, generation)]
                if all(w.state is State.FAILED for w in mine):
                    self._keep([*self.all(), Worker(rank, State.WAITING, generation)])

    def do(self, action: Action, generation: int, now: datetime) -> None:
        match action:
            case CreateWorkers(0):
                self._scale(generation, 0)
            case CreateWorkers(count):
                assert self._jobs.get(generation, 0) in (0, count), "a Job's size never changes"
                self._jobs[generation] = count
                self.live(now, 0)
            case BindWorkers():
                _check_bind(action, generation, self.all())
                mine = [w for w in self.all() if w.generation == generation]
                others = [w for w in self.all() if w.generation != generation]
                self._keep([*(_bound(w, generation, now) for w in mine), *others])
            case StopWorkers(upto):
                for old in [g for g in self._jobs if g <= upto]:
                    self._scale(old, 0)
                self._keep([_asked(w, upto) for w in self.all()])
            case DeleteWorkers(upto):
                gone = [w for w in self.all() if (w.generation or 0) <= upto]
                assert not any(w.living for w in gone), "only what has ended is cleared away"
                self._jobs = {g: n for g, n in self._jobs.items() if g > upto}
                self._keep([w for w in self.all() if w not in gone])
            case _:
                pass

    def _scale(self, generation: int, count: int) -> None:
        if generation in self._jobs:
            self._jobs[generation] = count
        gated = [w for w in self.all() if w.generation == generation and w.state is State.WAITING]
        self._keep([w for w in self.all() if w not in gated])

    def _keep(self, pods: Iterable[Worker]) -> None:
        """The newest bound pod of a rank stands for it, else the newest that waits."""
        self.workers, self.beside = {}, []
        order = sorted(pods, key=lambda w: (w.state is State.WAITING, -(w.generation or 0)))
        for pod in order:
            if self.workers.setdefault(pod.rank, pod) is not pod:
                self.beside.append(pod)


def ended(worker: Worker, code: int, now: datetime) -> Worker:
    """The worker after its end."""
    state = State.SUCCEEDED if code == 0 else State.FAILED
    return replace(worker, state=state, exit_code=code, ended_at=now)


def _running(worker: Worker, now: datetime) -> Worker:
    if worker.state is not State.STARTING:
        return worker
    return replace(worker, state=State.RUNNING)


def _bound(worker: Worker, generation: int, now: datetime) -> Worker:
    if worker.state is not State.WAITING:
        return worker
    return Worker(worker.rank, State.STARTING, generation=generation)


def _asked(worker: Worker, upto: int) -> Worker:
    asked = worker.living and (worker.generation or 0) <= upto
    return replace(worker, stopping=True) if asked else worker


def _check_bind(action: BindWorkers, generation: int, workers: Iterable[Worker]) -> None:
    assert action.generation == generation, "only the recorded plan is ever bound"
    living = [w for w in workers if w.living]
    assert all(w.generation == generation for w in living), "two plans at once"
