"""What a job has committed already, and from where a run of it starts."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

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
    """`run` is the UID of the life of the job that begins or goes on; `generation` is the highest
    that is in the log, and later ones must be higher.
    """

    run: str
    record: Record | None = None
    status: Status = field(default_factory=Status)
    commit: CheckpointStatus | None = None
    generation: int = 0


def begin(
    start: Start, folder: JobFolder, store: str, job: str, resume_from: int | None = None
) -> Beginning:
    """Looks for earlier commits, and decides whose run this is.

    FRESH begins another run beside them; so does NEW, which refuses to where there are some,
    unless the job says from which of them it is to begin (`resume_from`). RESUME goes on with the
    run that wrote the newest record. Nothing is deleted here: the names in the log are what keeps
    a forgotten trainer out, and a run that has commits of its own sweeps the parts of older ones.

    Raises:
        ConfigurationError: there are commits, and it was not said what to do with them; or
            the folder's files are damaged.
        StoreError: the store can't be read or written.
        UnknownFormat: another release wrote the commits.
    """
    log = CommitLog(open_store(store), job)
    kept = log.kept()
    last = log.history().newest_record()
    generation = last.generation if last else 0
    if start is Start.RESUME:
        run = last.origin.run if last else folder.read_run() or _new_run()
        folder.write_run(run)
        newest = _newest_of(run, kept)
        counted = newest.cursor.counted if newest else None
        return _resumed(run, folder, generation, _as_status(store, job, newest), counted)
    if start is Start.NEW and kept and resume_from is None:
        raise ConfigurationError(
            f"{job} has commits in {store}: the newest, number {kept[-1].seq}, is of step"
            f" {kept[-1].cursor.step}. Go on from it with --resume, or begin anew beside them with"
            " --fresh"
        )
    record = folder.read_record() if start is Start.NEW else None
    folder.forget()
    run = _new_run()
    folder.write_run(run)
    return Beginning(run, generation=max(generation, record.generation if record else 0))


def kept_commits(store: str, job: str) -> list[Commit]:
    """All that can be gone on from, oldest first.

    Raises:
        StoreError: the store can't be read.
    """
    return CommitLog(open_store(store), job).kept()


def _new_run() -> str:
    return str(uuid4())


def _newest_of(run: str, kept: Sequence[Commit]) -> Commit | None:
    return next((commit for commit in reversed(kept) if commit.origin.run == run), None)


def _resumed(
    run: str,
    folder: JobFolder,
    generation: int,
    commit: CheckpointStatus | None,
    counted: int | None,
) -> Beginning:
    """Counts and conditions start anew. The rows to expect are those that the commit `counted`, or
    else those of the first count; without a commit they are counted anew.
    """
    old, status = folder.read_record(), folder.read_status() or Status()
    record = None
    if old is not None:
        rows = None if old.rows is None or commit is None else counted or old.rows
        record = Record(plan=old.plan, at=old.at, rows=rows, step=old.step, cause=old.cause)
    bound = max(status.generation, old.generation if old else 0)
    return Beginning(run, record, Status(generation=bound), commit, generation)


def _as_status(store: str, job: str, commit: Commit | None) -> CheckpointStatus | None:
    if commit is None:
        return None
    return CheckpointStatus(
        step=commit.cursor.step, time=commit.time, uri=commit_uri(store, job, commit.seq)
    )
