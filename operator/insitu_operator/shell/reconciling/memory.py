"""What the operator remembers of a job from pass to pass. All of it can be read again, or is only
a reason to save a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from insitu.api.status import CheckpointStatus
from insitu_operator.core.objects.pods import PodTimes
from insitu_operator.core.record import Record
from insitu_operator.kubernetes import Json

_GENERATIONS = 8


@dataclass(frozen=True, slots=True)
class Places:
    """The Job whose pods were last asked for, and when (seconds, monotonic)."""

    generation: int
    count: int
    batch_job_uid: str
    at: float


@dataclass(slots=True)
class Memory:
    """Of the job with this uid.

    Attributes:
        uid: Of the TrainingJob; one of the same name that comes later has none of this.
        looked: Whether the record was looked for in the cluster.
        record: The newest one.
        plan_map: The ConfigMap that it is in, without its content; None where there is none.
        commit: The newest that a trainer told of.
        has_service: Whether the ranks' Service is there.
        places: What was asked for last.
        waiting_since: Since when places are missing.
        asked_why_at: When the API server was last asked why.
        hindrance: Why places don't come, in words.
        deleted: When the Job of a generation was deleted.
        pod_times: What was seen of each pod there is, by its uid.
        batch_jobs: Uids of the Jobs that were seen to belong to the job, by generation.
    """

    uid: str
    looked: bool = False
    record: Record | None = None
    plan_map: Json | None = None
    commit: CheckpointStatus | None = None
    has_service: bool = False
    places: Places | None = None
    waiting_since: float | None = None
    asked_why_at: float | None = None
    hindrance: str = ""
    deleted: dict[int, float] = field(default_factory=dict)
    pod_times: Mapping[str, PodTimes] = field(default_factory=dict)
    batch_jobs: dict[int, set[str]] = field(default_factory=dict)

    def remember(self, record: Record | None, plan_map: Json | None) -> None:
        """What the ConfigMap holds now."""
        self.looked, self.record = True, record
        self.plan_map = {"metadata": plan_map["metadata"]} if plan_map else None

    def made(self, generation: int, batch_job_uid: str) -> None:
        """A Job of the generation belongs to the job; those of long ago are forgotten."""
        self.batch_jobs.setdefault(generation, set()).add(batch_job_uid)
        for old in sorted(self.batch_jobs)[:-_GENERATIONS]:
            del self.batch_jobs[old]

    def doubt(self) -> None:
        """Somebody else has written: the record is read again."""
        self.looked = False
