"""What a job has committed already, and from where a run of it starts."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from insitu.api import Status
from insitu.api.status import CheckpointStatus
from insitu.checkpoint.log import CommitLog
from insitu.checkpoint.records import Commit
from insitu.checkpoint.store import open_store
from insitu.errors import ConfigurationError
from insitu_operator.core.record import Record
from insitu_operator.core.stores import commit_uri
from insitu_operator.local.folder import JobFolder


class Start(enum.Enum):
    """How a run treats what earlier ones committed."""

    NEW = "new"
    RESUME = "resume"
    FRESH = "fresh"


@dataclass(frozen=True)
class Beginning:
    """`generation` is the highest that has ever written to the log; later ones must be higher."""

    record: Record | None = None
    status: Status = field(default_factory=Status)
    commit: CheckpointStatus | None = None
    generation: int = 0


def begin(start: Start, folder: JobFolder, store: str, job: str) -> Beginning:
    """Looks for earlier commits, and clears away what the run must not go on from.

    FRESH deletes the job's commits; NEW refuses to start beside some.

    Raises:
        ConfigurationError: there are commits, and it was not said what to do with them; or
            the folder's files are damaged.
        StoreError: the store can't be read or written.
    """
    log = CommitLog(open_store(store), job)
    kept = log.kept()
    generation = log.generation() or 0
    newest = kept[-1] if kept else None
    match start:
        case Start.NEW if newest is not None:
            raise ConfigurationError(
                f"{job} has commits in {store}: the newest, number {newest.seq}, is of step"
                f" {newest.cursor.step}. Go on from it with --resume, or delete them and begin anew"
                " with --fresh"
            )
        case Start.RESUME:
            return _resumed(folder, generation, _as_status(store, job, newest))
        case _:
            record = folder.read_record() if start is Start.NEW else None
            generation = max(generation, record.generation if record else 0)
            if start is Start.FRESH:
                log.store.delete([entry.name for entry in log.store.list(job)])
            folder.forget()
            return Beginning(generation=generation)


def kept_commits(store: str, job: str) -> list[Commit]:
    """All that can be gone on from, oldest first.

    Raises:
        StoreError: the store can't be read.
    """
    return CommitLog(open_store(store), job).kept()


def _resumed(folder: JobFolder, generation: int, commit: CheckpointStatus | None) -> Beginning:
    """Counts and conditions start anew; the first count of the rows stays."""
    old, status = folder.read_record(), folder.read_status() or Status()
    record = None
    if old is not None:
        record = Record(plan=old.plan, at=old.at, rows=old.rows, step=old.step, cause=old.cause)
    bound = max(status.generation, old.generation if old else 0)
    return Beginning(record, Status(generation=bound), commit, generation)


def _as_status(store: str, job: str, commit: Commit | None) -> CheckpointStatus | None:
    if commit is None:
        return None
    return CheckpointStatus(
        step=commit.cursor.step, time=commit.time, uri=commit_uri(store, job, commit.seq)
    )
