"""What the trainers of all jobs have told, how often they may, and when a job is worth a look."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from insitu.progress import Heartbeat, HeartbeatReply
from insitu_operator.core.heartbeats import News, Ranks
from insitu_operator.core.objects import names
from insitu_operator.core.objects.pods import batch_job_uid
from insitu_operator.shell.key import Key

POSTS_A_SECOND = 100.0
"""Of all trainers together; a heartbeat costs the operator about a millisecond."""

LOOKS_A_SECOND = 20.0
"""At jobs that have nothing but progress; each costs a write of a status."""

_EVERY_SECONDS = 1.0
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Trainer:
    """What a pod says it is to Insitu. `batch_job` is the uid of the Job that it says made it."""

    key: Key
    job_uid: str
    generation: int
    rank: int
    batch_job: str = ""

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> Self | None:
        """Read from the object's labels; None for a pod that is not Insitu's."""
        metadata = pod["metadata"]
        labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
        try:
            return cls(
                Key(metadata["namespace"], labels[names.JOB]),
                labels[names.JOB_UID],
                int(labels[names.GENERATION]),
                int(annotations[names.INDEX]),
                batch_job_uid(pod),
            )
        except (KeyError, ValueError):
            return None


class Heartbeats:
    """The newest heartbeat of each rank of each job; of one event loop.

    Args:
        look: Called with a job that is worth a look, and whether at once.
        look_later: Called with a job that will be, and in how many seconds.
        clock: Seconds, ever growing.
    """

    def __init__(
        self,
        look: Callable[[Key, bool], None],
        look_later: Callable[[Key, float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._look_later = look_later
        self._clock = clock
        self._jobs: dict[str, Ranks] = {}
        self._looked: dict[str, float] = {}
        self._living = 0
        self._running: set[str] = set()

    @property
    def every_seconds(self) -> float:
        """The pace at which all trainers together don't post too often."""
        return max(_EVERY_SECONDS, self._living / POSTS_A_SECOND)

    def follow(self, job_uid: str, generation: int) -> None:
        """The job's current generation is this one: trainers of older ones hear of it."""
        ranks = self._jobs.setdefault(job_uid, Ranks())
        living = ranks.living
        ranks.generation = generation
        self._count(job_uid, living, ranks.living)

    def forget(self, job_uid: str) -> None:
        """The job is gone; its trainers must not be known any more either."""
        if ranks := self._jobs.pop(job_uid, None):
            self._count(job_uid, ranks.living, 0)
        self._looked.pop(job_uid, None)

    def newest(self, job_uid: str, generation: int, rank: int) -> Heartbeat | None:
        """What the rank last told, if it has told this process."""
        ranks = self._jobs.get(job_uid)
        return ranks.newest(generation, rank) if ranks else None

    def log_generation(self, job_uid: str) -> int:
        """The highest generation that the job's trainers have met in its log of commits, or 0."""
        ranks = self._jobs.get(job_uid)
        return ranks.log_generation if ranks else 0

    def take(self, trainer: Trainer, heartbeat: Heartbeat) -> HeartbeatReply:
        """Keeps it and answers it. `heartbeat` is what `trainer` may say."""
        ranks = self._jobs.setdefault(trainer.job_uid, Ranks())
        living = ranks.living
        news = ranks.take(heartbeat)
        self._count(trainer.job_uid, living, ranks.living)
        self._tell(trainer, news)
        return ranks.reply(heartbeat, self.every_seconds)

    def _count(self, job_uid: str, before: int, after: int) -> None:
        self._living += after - before
        if after:
            self._running.add(job_uid)
        else:
            self._running.discard(job_uid)

    def _tell(self, trainer: Trainer, news: News) -> None:
        if news is News.NOTHING:
            return
        now, last = self._clock(), self._looked.get(trainer.job_uid, -math.inf)
        pause = max(_PROGRESS_SECONDS, len(self._running) / LOOKS_A_SECOND)
        if news is News.TURN or now >= last + pause:
            self._looked[trainer.job_uid] = now
            self._look(trainer.key, news is News.TURN)
        elif now >= last:  # Else the look that will show it is on its way.
            self._looked[trainer.job_uid] = last + pause
            self._look_later(trainer.key, last + pause - now)
