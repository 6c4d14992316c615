"""A plan: which jobs there are, what is ordered when, and which faults happen. One small file."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kind(enum.StrEnum):
    """What happens at a write of the operator, counted from 0 over all its processes."""

    CRASH_BEFORE = "crash before"
    """The process dies, and the write was not done."""
    CRASH_AFTER = "crash after"
    """The process dies, and the write was done."""
    LOST = "response lost"
    """It was done, and no answer comes."""
    CONFLICT = "409"
    INVALID = "422"
    BUSY = "429"
    BROKEN = "500"
    FORBIDDEN = "403"
    STALE = "stale list"
    """For a while after the write, lists take so long to come that they show what was."""
    LATE = "late events"
    """Watches bring nothing for a while after the write."""
    DOUBLED = "doubled events"
    """Watches bring what happens for a while after the write, and once more later."""


class Fault(_Value):
    write: int
    kind: Kind


class Do(enum.StrEnum):
    CREATE = "create"
    SUSPEND = "suspend"
    RESUME = "resume"
    DELETE = "delete"
    DELETE_FOREGROUND = "delete in the foreground"
    DEADLINE = "set the active deadline"
    NODES = "move to database nodes"
    EXIT = "exit"
    EVICT = "evict"
    REMOVE_SERVICE = "remove the Service"


class Order(_Value):
    """What somebody does to a job, once the order before it to the same job was carried out.

    Attributes:
        do: What.
        job: To which.
        at: Not before so many seconds.
        step: Not before the job has taken so many steps.
        state: Not before the summary of the job's status begins so.
        rank: For `exit` and `evict`: of which rank.
        value: For `exit` the code, for the deadline the seconds.
        nodes: For `move`: the numbers of the database nodes that live.
    """

    do: Do
    job: str = "digits"
    at: float = 0.0
    step: int = 0
    state: str = ""
    rank: int = 0
    value: int = 0
    nodes: tuple[int, ...] = ()


class Job(_Value):
    """A job, created `at` so many seconds.

    Attributes:
        nodes: The machines, by number, that its database nodes are on.
        steps: After which it ends.
        spec: Parts of the manifest's spec besides data and command.
    """

    name: str = "digits"
    at: float = 0.0
    nodes: tuple[int, ...] = (0, 1, 2)
    steps: int = 5
    spec: dict[str, Any] = {}


class Plan(_Value):
    """Attributes:
    room: Trainers that each machine has room for; None for any number.
    restart: Seconds until a dead operator runs again.
    seed: Of all else that is left to chance.
    steady: Whether orders wait for what the job does, not for a time: its jobs then end with
        faults just as without.
    """

    jobs: tuple[Job, ...] = (Job(),)
    orders: tuple[Order, ...] = ()
    faults: tuple[Fault, ...] = ()
    machines: int = 3
    room: int | None = None
    restart: float = 1.0
    seed: int = 0
    steady: bool = False

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls.model_validate_json(path.read_bytes())

    def text(self) -> str:
        """As `read` reads it, without what is left as it is."""
        return self.model_dump_json(indent=1, exclude_defaults=True) + "\n"

    def with_faults(self, *faults: Fault) -> Self:
        return self.model_copy(update={"faults": faults})
