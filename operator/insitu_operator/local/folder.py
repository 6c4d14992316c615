"""The folder `.insitu/<job>` beside a manifest: everything that a job leaves on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from insitu.api import Status
from insitu.errors import ConfigurationError
from insitu_operator.core.record import Record


@dataclass(frozen=True)
class JobFolder:
    """Files are replaced as a whole, so that a crash leaves the old or the new one."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Where commits go when the user names no other place."""
        return self.path / "checkpoints"

    def log(self, generation: int, rank: int) -> Path:
        """Output of one rank of one generation."""
        return self.path / "logs" / f"generation-{generation}" / f"rank-{rank}.log"

    def document(self, generation: int, rank: int) -> Path:
        """The assignment of one rank of one generation."""
        return self.path / "assignments" / f"generation-{generation}" / f"rank-{rank}.json"

    def progress(self, generation: int, rank: int) -> Path:
        """What the session of one rank of one generation reports to its supervisor."""
        return self.document(generation, rank).with_name(f"rank-{rank}.progress.json")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """For one run at a time; the lock ends with the process that holds it.

        Raises:
            ConfigurationError: another run of the same job holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise ConfigurationError(
                    f"this job is running already, in process {lock.read().strip() or '?'}. Stop"
                    " that one first, or give the job another metadata.name"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def read_record(self) -> Record | None:
        """Raises `ConfigurationError` for a file that is damaged."""
        path = self._record
        try:
            return Record.from_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ConfigurationError as problem:
            raise ConfigurationError(f"{path}: {problem}") from None

    def write_record(self, record: Record) -> None:
        _replace(self._record, record.to_json())

    def read_run(self) -> str | None:
        """The UID that stands in for the one that Kubernetes would give; None before the first
        start.
        """
        try:
            return self._run.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def write_run(self, uid: str) -> None:
        _replace(self._run, f"{uid}\n".encode())

    def read_status(self) -> Status | None:
        """Raises `ConfigurationError` for a file that is damaged."""
        try:
            return Status.model_validate_json(self._status.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as problem:
            raise ConfigurationError(
                f"{self._status} is not the status of a job: {problem.errors()[0]['msg']}"
            ) from None

    def write_status(self, status: Status) -> None:
        text = status.model_dump_json(by_alias=True, exclude_none=True, indent=1)
        _replace(self._status, text.encode())

    def forget(self) -> None:
        """Removes what earlier runs left, except their checkpoints."""
        for path in (self._record, self._status):
            path.unlink(missing_ok=True)
        for name in ("logs", "assignments"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    @property
    def _record(self) -> Path:
        return self.path / "plan.json"

    @property
    def _run(self) -> Path:
        return self.path / "uid"

    @property
    def _status(self) -> Path:
        return self.path / "status.json"


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
