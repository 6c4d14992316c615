"""What is to be done about a job: actions for a backend, and the status to write after them.

A backend does the actions in their order, and writes the status last. When an action fails that
may work the next time, it writes nothing and asks again; when one is refused, it asks at once with
`Observed.refused`, and writes that status without the actions. Every action may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

from insitu.api import Reason, Status
from insitu_operator.core.record import Record


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """Make `record` the job's record. Comes before anything is bound to its plan."""

    record: Record


@dataclass(frozen=True, slots=True)
class CreateWorkers:
    """Have one place for each of the ranks 0 to `count` - 1, and no waiting place beyond."""

    count: int


@dataclass(frozen=True, slots=True)
class BindWorkers:
    """Start every waiting place with its rank's part of the recorded plan, all together."""

    generation: int


@dataclass(frozen=True, slots=True)
class StopWorkers:
    """Ask the living workers of `generation` and older to commit and leave; kill after grace."""

    generation: int
    grace_seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class DeleteWorkers:
    """Clear away what is left of `generation` and older, so that their ranks are free.

    That is workers that have ended, and places that were made for these generations only.
    """

    generation: int


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Its time to live after the end is over."""


Action = RecordPlan | CreateWorkers | BindWorkers | StopWorkers | DeleteWorkers | DeleteJob


@dataclass(frozen=True)
class Decision:
    """`requeue_after` is the number of seconds after which time alone may change the decision."""

    actions: tuple[Action, ...]
    status: Status
    requeue_after: float | None = None


@dataclass(frozen=True)
class Step:
    """What one policy decided; the status is made from it.

    `doing` and `message` say what the job is at, or what it waits for. `bound` is the generation
    that this step binds. `failed` ends the job in failure, and `complete` in success.
    """

    doing: Reason
    message: str = ""
    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    bound: int | None = None
    failed: bool = False
    complete: bool = False
