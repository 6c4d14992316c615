"""What is known about a job at one moment. Values only; whoever gathers them may know less."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from insitu.api import Reason, TrainingJob
from insitu.api.status import CheckpointStatus
from insitu.progress import Progress
from insitu.topology import NodeId, Topology
from insitu_operator.core.record import Record


class State(enum.StrEnum):
    """What a worker does.

    Waiting ──bind──▶ Starting ──▶ Running ──▶ Succeeded
                          └────────────┴─────▶ Failed
    """

    WAITING = "Waiting"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True)
class Worker:
    """A rank's place and, once it is bound, the trainer in it.

    `generation` is None for a waiting place that any generation may be bound to; a place that was
    made for one generation has it from the start. `ended_at` is when it was first seen to have
    ended. `stopping` says that it was asked to leave, which makes its exit code meaningless.
    `disrupted` says that it ended through its machine or by somebody's order, not by itself.
    `heard` says that it has sent a heartbeat. `reason` is why it does not run, in words. A worker
    whose machine is lost counts as failed and disrupted; at `lost_at` one that was asked to leave
    will, if it has not left by then. `lingering` says that its trainer has ended, and that others
    beside it keep its pod running. `placed` says that it has a machine, and `unschedulable_since`
    is when it was first seen to be refused one, if it still is.
    """

    rank: int
    state: State
    generation: int | None = None
    machine: str = ""
    ended_at: datetime | None = None
    exit_code: int | None = None
    last_lines: tuple[str, ...] = ()
    stopping: bool = False
    disrupted: bool = False
    heard: bool = False
    reason: str = ""
    progress: Progress | None = None
    lost_at: datetime | None = None
    lingering: bool = False
    placed: bool = True
    unschedulable_since: datetime | None = None

    @property
    def living(self) -> bool:
        return self.state in (State.STARTING, State.RUNNING)

    @property
    def ended(self) -> bool:
        return self.state in (State.SUCCEEDED, State.FAILED)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a database node runs; `problem` says why no trainer can start there."""

    name: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A topology, and when reading it began."""

    topology: Topology
    at: datetime


@dataclass(frozen=True, slots=True)
class Unread:
    """The newest try to read the topology failed.

    `reason` is one of DATABASE_UNAVAILABLE, ACCESS_DENIED, SOURCE_INVALID and PARTITIONS_LOST.
    """

    reason: Reason
    message: str


@dataclass(frozen=True)
class Observed:
    """One gathered view. `job.status` is the status as it was last written.

    `reading` is the newest one that worked, and `unread` is None when it is also the newest try.
    `machines` holds the machine of each database node, as far as it is known. `commit` is the
    newest one, and `committed_generation` the highest generation that the store has heard of.
    `refused` is the last action that could not be done and needs a person, in words;
    `refused_for_good` says that it can't be done either way while job and database are as they are.
    """

    job: TrainingJob
    record: Record | None = None
    reading: Reading | None = None
    unread: Unread | None = None
    workers: tuple[Worker, ...] = ()
    machines: Mapping[NodeId, Machine] = field(default_factory=dict)
    commit: CheckpointStatus | None = None
    committed_generation: int = 0
    refused: str = ""
    refused_for_good: bool = False
