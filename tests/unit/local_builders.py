"""A manifest, a script and a database that answers in memory: a job for this machine.

`python -m tests.unit.local_builders MANIFEST` runs such a job in a process of its own.
"""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow as pa
import yaml

from insitu.databases import Database, DataSource, Reader, ReadLimits, Writer
from insitu.databases.ignite import refit as refit  # the other half of a database's module
from insitu.errors import InsituError
from insitu.topology import DatabaseNode, Topology
from insitu_operator.cli.show import Lines
from insitu_operator.local.commits import Start
from insitu_operator.local.prepare import Prepared, prepare
from insitu_operator.local.run import Outcome, Snapshot, run
from tests.unit.job_builders import topology

PATIENCE_SECONDS = 60.0


@dataclass
class Answers:
    """A database that only ever says who owns what; `error` makes it refuse."""

    nodes: str = "ab"
    error: InsituError | None = None
    asked: list[str] = field(default_factory=list)

    def check(self) -> None: ...

    def schema(self) -> pa.Schema:
        return pa.schema({"id": pa.int64()})

    def topology(self) -> Topology:
        self.asked.append(self.nodes)
        if self.error:
            raise self.error
        return topology(self.nodes, all_nodes="ab", shards=4, rows=40)

    def count(self) -> int:
        return 40

    def reader(self, node: DatabaseNode, limits: ReadLimits = ReadLimits()) -> Reader:  # noqa: B008
        raise NotImplementedError

    def writer(
        self, schema: pa.Schema, *, key: Sequence[str], options: Mapping[str, str] | None = None
    ) -> Writer:
        raise NotImplementedError

    def close(self) -> None: ...


def connect(_: DataSource) -> Answers:
    """What a module of `insitu.databases` offers."""
    return Answers()


def manifest(folder: Path, script: str, **spec: object) -> Path:
    """Writes job.yaml and train.py into `folder`."""
    (folder / "train.py").write_text(textwrap.dedent(script))
    document = {
        "apiVersion": "insitu.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "small"},
        "spec": {
            "data": {"ignite": {"endpoints": ["127.0.0.1:10800"], "cache": "T"}},
            "trainer": {"command": ["python", "train.py"]},
            **spec,
        },
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@dataclass
class Followed:
    """Keeps every snapshot, and reacts to each."""

    react: Callable[[Snapshot], None] = lambda _: None
    seen: list[Snapshot] = field(default_factory=list)

    def __call__(self, snapshot: Snapshot) -> None:
        self.seen.append(snapshot)
        self.react(snapshot)

    @property
    def pids(self) -> set[int]:
        return {pid for snapshot in self.seen for pid in snapshot.pids.values()}


def start(
    path: Path,
    follow: Followed,
    database: Answers | None = None,
    how: Start = Start.NEW,
) -> tuple[Prepared, Outcome]:
    """Runs the job to its end."""
    prepared = prepare(path, None, {})
    answers = database or Answers()

    def open_database(_: DataSource) -> Database:
        return answers

    return prepared, run(prepared, how, follow, open_database)


def gone(pids: set[int]) -> bool:
    """Whether every one of the processes is gone, or is about to be."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while any(_alive(pid) for pid in pids):
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    shown = Lines(as_json=True)
    start(Path(sys.argv[1]), Followed(shown.update))
