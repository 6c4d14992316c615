"""Jobs, readings and workers in few words, and a world of workers that does what is decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from insitu.api import Condition, ConditionType, Reason, TrainingJob
from insitu.api.status import CheckpointStatus
from insitu.progress import Progress
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId, Topology
from insitu_operator.core.decision import (
    Action,
    Decision,
    RecordPlan,
)
from insitu_operator.core.observed import Machine, Observed, Reading, Unread, Worker
from insitu_operator.core.reconcile import reconcile
from insitu_operator.core.record import Record
from tests.unit.backends import Backend, Processes, ended

START = datetime(2026, 1, 1, tzinfo=UTC)


def job(name: str = "digits", uid: str = "", **spec: Any) -> TrainingJob:
    """A valid job; `spec` replaces whole parts of its spec, in the manifest's words."""
    whole: dict[str, Any] = {
        "data": {"ignite": {"endpoints": ["127.0.0.1:10800"], "cache": "DIGITS"}},
        "trainer": {"command": ["python", "train.py"]},
        **spec,
    }
    return TrainingJob.model_validate(
        {
            "apiVersion": "insitu.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": name, "uid": uid},
            "spec": whole,
        }
    )


def topology(
    nodes: Iterable[str] = "abc",
    *,
    shards: int = 6,
    all_nodes: str = "abc",
    backups: int = 1,
    rows: int | None = 60,
    moving: Iterable[int] = (),
) -> Topology:
    """Shard i is held by node i and the `backups` after it, of `all_nodes`; `nodes` are alive."""
    alive = [n for n in all_nodes if n in set(nodes)]
    moved = set(moving)

    def owners(number: int) -> tuple[NodeId, ...]:
        copies = [all_nodes[(number + k) % len(all_nodes)] for k in range(backups + 1)]
        return tuple(NodeId(n) for n in copies if n in alive)

    return Topology(
        nodes=tuple(DatabaseNode(NodeId(n), f"host-{n}", 10800) for n in alive),
        shards=tuple(
            Shard(ShardId(str(i)), owners(i), weight=10, moving=i in moved) for i in range(shards)
        ),
        version=f"{''.join(alive)}/{backups}/{sorted(moved)}",
        rows=rows,
        weights_exact=True,
    )


class Scene:
    """A job and its surroundings. Events change it; `tick` decides once and does what was decided.

    Time moves only by `wait`. Workers start to run one tick after they were bound, and leave one
    tick after they were asked to, with `leaves_with` as their exit code where one can be seen.
    """

    def __init__(self, backend: Backend | None = None, **spec: Any) -> None:
        self.backend: Backend = backend or Processes()
        self.job = job(**spec)
        self.now = START
        self.record: Record | None = None
        self.reading: Reading | None = None
        self.unread: Unread | None = None
        self.machines: Mapping[str, Machine] = {n: Machine(f"host-{n}") for n in "abcdef"}
        self.commit: CheckpointStatus | None = None
        self.refused = ""
        self.leaves_with = 79
        self.actions: list[Action] = []
        self.last: Decision | None = None

    # What happens around the job.

    def read(self, *args: Any, **kwargs: Any) -> Self:
        """The database answers, with `topology(*args, **kwargs)`."""
        return self.read_as(topology(*args, **kwargs))

    def read_as(self, found: Topology) -> Self:
        self.reading, self.unread = Reading(found, self.now), None
        return self

    def again(self, seconds: float = 1.0) -> Self:
        """Later the database gives the same answer."""
        assert self.reading is not None
        return self.wait(seconds).read_as(self.reading.topology)

    def cannot_read(self, reason: Reason = Reason.DATABASE_UNAVAILABLE) -> Self:
        self.unread = Unread(reason, "no endpoint answers")
        return self

    def wait(self, seconds: float) -> Self:
        self.now += timedelta(seconds=seconds)
        return self

    def suspend(self, held: bool = True) -> Self:
        return self.change(suspend=held)

    def change(self, **fields: Any) -> Self:
        spec = self.job.spec.model_copy(update=fields)
        self.job = self.job.model_copy(update={"spec": spec})
        return self

    def ends(self, rank: int, code: int, *lines: str, disrupted: bool = False) -> Self:
        """The rank's trainer ends by itself."""
        self.workers[rank] = replace(
            ended(self.workers[rank], code, self.now), last_lines=lines, disrupted=disrupted
        )
        return self

    def vanishes(self, *ranks: int) -> Self:
        for rank in ranks:
            del self.workers[rank]
        return self

    def commits(self, step: int) -> Self:
        self.commit = CheckpointStatus(step=step, time=self.now, uri=f"file:///store#{step}")
        return self

    def reports(self, progress: Progress, *ranks: int) -> Self:
        for rank in ranks or tuple(self.workers):
            self.workers[rank] = replace(self.workers[rank], progress=progress, heard=True)
        return self

    # What is decided, and what follows from it.

    def observed(self) -> Observed:
        return Observed(
            job=self.job,
            record=self.record,
            reading=self.reading,
            unread=self.unread,
            workers=self.backend.all(),
            machines={NodeId(n): m for n, m in self.machines.items()},
            commit=self.commit,
            refused=self.refused,
        )

    def decide(self) -> Decision:
        return reconcile(self.observed(), self.now)

    def tick(self, times: int = 1) -> Self:
        for _ in range(times):
            self.last = self.decide()
            self.backend.live(self.now, self.leaves_with)
            for action in () if self.refused else self.last.actions:
                if isinstance(action, RecordPlan):
                    assert action.record.generation > self.generation, "generations only grow"
                    self.record = action.record
                self.backend.do(action, self.generation, self.now)
                self.actions.append(action)
            self.job = self.job.model_copy(update={"status": self.last.status})
        return self

    def settle(self) -> Self:
        """Ticks until nothing is to be done any more and no worker is on its way."""
        for _ in range(20):
            before = self.observed()
            self.tick()
            assert self.last is not None
            if not self.last.actions and self.observed() == before:
                return self
        raise AssertionError(f"still busy: {self.last}")

    def started(self) -> Self:
        """From nothing to all ranks running."""
        if self.reading is None:
            self.read()
        return self.settle()

    # What a test asks for.

    @property
    def workers(self) -> dict[int, Worker]:
        """By rank. A test may change them."""
        return self.backend.workers

    @property
    def doing(self) -> str:
        return self.job.status.summary.status

    @property
    def generation(self) -> int:
        return self.record.generation if self.record else 0

    def condition(self, kind: str) -> Condition:
        found = self.job.status.condition(ConditionType(kind))
        assert found is not None
        return found

    def did(self, kind: type[Action]) -> int:
        return sum(isinstance(action, kind) for action in self.actions)
