"""What runs in the pods: ranks that meet, take a step a second together, commit, and end.

The ranks of a generation begin when all of them run; one that is lost takes the others with it; a
generation goes on from the newest commit; nobody commits behind a newer generation's first word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from insitu.errors import ExitCode
from insitu.progress import Heartbeat, HeartbeatReply, Progress
from insitu_operator.core.objects.names import GENERATION, INDEX, JOB, JOB_UID
from tests.simulator.store import BEGINNING, Json

STEP_SECONDS = 1.0
STEPS_A_COMMIT = 2
HEARTBEAT_SECONDS = 1.0
LEAVE_SECONDS = 0.4
NOTICE_SECONDS = 0.8
"""For a rank to notice that another one is lost."""

#: Where heartbeats go: of which pod. None when nobody answers.
Post = Callable[[Json, Heartbeat], HeartbeatReply | None]


@dataclass
class Log:
    """The commits of one job.

    Attributes:
        generation: Of the newest that has opened it.
        step: Of the newest commit.
        commits: How many there are.
        taken: Steps that were ever taken.
    """

    generation: int = 0
    step: int = 0
    commits: int = 0
    taken: int = 0


@dataclass
class Group:
    """The ranks of one generation."""

    size: int
    ranks: dict[int, Trainer] = field(default_factory=dict)
    begun_at: float | None = None
    first_step: int = 0
    lost_at: float | None = None

    def step(self, now: float) -> int:
        """Steps that the job has by now."""
        if self.begun_at is None:
            return self.first_step
        end = now if self.lost_at is None else min(now, self.lost_at)
        return self.first_step + int((end - self.begun_at) / STEP_SECONDS)


@dataclass
class Trainer:
    """One rank's process."""

    pod: Json
    log: Log
    group: Group
    steps: int
    post: Post
    exit_code: int | None = None
    leaves_at: float | None = None
    told_at: float = float("-inf")
    told: str = ""

    @property
    def job(self) -> str:
        return str(self.pod["metadata"]["labels"][JOB])

    @property
    def generation(self) -> int:
        return int(self.pod["metadata"]["labels"][GENERATION])

    @property
    def rank(self) -> int:
        return int(self.pod["metadata"]["annotations"][INDEX])

    def leave(self, now: float) -> None:
        """SIGTERM."""
        if self.leaves_at is None:
            self.leaves_at = now + LEAVE_SECONDS

    def live(self, now: float) -> None:
        group, log = self.group, self.log
        if self.exit_code is not None:
            return
        if group.begun_at is None and len(group.ranks) == group.size:
            group.begun_at, group.first_step = now, log.step
        step = min(group.step(now), self.steps)
        if self.generation < log.generation:
            self.end(ExitCode.STALE_GENERATION, now)
            return
        log.generation = self.generation
        if group.begun_at is not None and group.lost_at is None:
            log.taken = max(log.taken, step)
        self._commit(step)
        if self.leaves_at is not None and now >= self.leaves_at:
            self._commit(step, last=True)
            self.end(ExitCode.LEFT, now)
        elif group.lost_at is not None and now >= group.lost_at + NOTICE_SECONDS:
            self.end(ExitCode.PEER_LOST, now)
        elif group.begun_at is not None and step >= self.steps and group.lost_at is None:
            self._commit(step, last=True)
            self.end(ExitCode.DONE, now)
        else:
            self._tell(step, now)

    def end(self, code: int, now: float) -> None:
        """With this exit code."""
        self.exit_code = code
        self._tell(self.log.step, now, at_once=True)

    def _commit(self, step: int, *, last: bool = False) -> None:
        group, log = self.group, self.log
        if group.begun_at is None or group.lost_at is not None:
            return
        if step > log.step and (last or step >= log.step + STEPS_A_COMMIT):
            log.step = step
            log.commits += 1

    def _tell(self, step: int, now: float, *, at_once: bool = False) -> None:
        state = "starting" if self.group.begun_at is None else "training"
        if self.leaves_at is not None:
            state = "leaving"
        if not at_once and state == self.told and now < self.told_at + HEARTBEAT_SECONDS:
            return
        self.told, self.told_at = state, now
        progress = Progress(
            epochs=1,
            step=step,
            rows=step * 10,
            rows_total=self.steps * 10,
            percent=100.0 * step / self.steps,
            metrics={"loss": 1.0 / (1 + step)},
            commit=self.log.commits or None,
            commit_step=self.log.step or None,
            log_generation=self.log.generation,
            state="starting" if state == "starting" else "training",
            updated=BEGINNING.timestamp() + now,
        )
        heartbeat = Heartbeat(
            job=self.job,
            generation=self.generation,
            rank=self.rank,
            progress=progress,
            exit_code=self.exit_code,
        )
        reply = self.post(self.pod, heartbeat)
        if reply and reply.generation > self.generation and self.exit_code is None:
            self.exit_code = ExitCode.STALE_GENERATION


class Training:
    """Of all jobs, by their uids.

    Args:
        post: Where heartbeats go.
        steps_of: How many steps a job has to take, by its name.
        size_of: Ranks of the Job that a pod belongs to.
        clock: Seconds.
    """

    def __init__(
        self,
        post: Post,
        steps_of: Callable[[str], int],
        size_of: Callable[[Json], int],
        clock: Callable[[], float],
    ) -> None:
        self._post = post
        self._steps_of = steps_of
        self._size_of = size_of
        self._clock = clock
        self._groups: dict[tuple[str, int], Group] = {}
        self.logs: dict[str, Log] = {}

    def start(self, pod: Json) -> Trainer:
        """The process of a pod whose container starts."""
        labels = pod["metadata"]["labels"]
        uid, generation = labels[JOB_UID], int(labels[GENERATION])
        key = uid, generation
        group = self._groups.get(key) or self._groups.setdefault(key, Group(self._size_of(pod)))
        log = self.logs.setdefault(uid, Log())
        trainer = Trainer(pod, log, group, self._steps_of(labels[JOB]), self._post)
        group.ranks[trainer.rank] = trainer
        return trainer

    def gone(self, trainer: Trainer) -> None:
        """Its process is no more; one that had not done its work takes the others with it."""
        group = trainer.group
        if trainer.exit_code != 0 and group.lost_at is None:
            group.lost_at = self._clock()

    def rank(self, job_uid: str, rank: int) -> Trainer | None:
        """The process of a rank of the newest generation, if it runs."""
        newest = max((g for uid, g in self._groups if uid == job_uid), default=0)
        group = self._groups.get((job_uid, newest))
        found = group.ranks.get(rank) if group else None
        return found if found and found.exit_code is None else None
