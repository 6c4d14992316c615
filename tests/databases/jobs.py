"""Whole jobs for tests: `insitu run` on a real database, and which rows really entered commits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import yaml

from insitu.checkpoint.records import Commit
from insitu.databases import DataSource, connect
from tests.audit import Line, committed, lineage
from tests.waiting import until

SCRIPT = Path(__file__).with_name("trainer_script.py").read_text()


class Sourced(Protocol):
    """A cluster of a database, on this machine or in Kubernetes."""

    def source(self, table: str) -> DataSource: ...


class Cluster(Sourced, Protocol):
    """On this machine."""

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]: ...


def fill(
    cluster: Sourced,
    table: str,
    rows: int,
    *,
    partitions: int = 64,
    backups: int = 1,
    template: str = "p",
) -> None:
    """A table of Ignite with `rows` rows: id int64 from 0, x float32."""
    ids = pa.array(range(rows), pa.int64())
    batch = pa.record_batch({"id": ids, "x": ids.cast(pa.float32())})
    options = {"template": f"{template}{partitions}", "backups": str(backups)}
    _write(cluster.source(table), batch, ["id"], options)


def fill_cassandra(
    cluster: Sourced,
    table: str,
    rows: int,
    *,
    replicas: int = 2,
    a_partition: int = 1,
    pack: int | None = None,
) -> None:
    """A table of Cassandra, `keyspace.table`, with `rows` rows on all of `replicas` nodes each.

    part int64, id int64 from 0, x float32; key (part, id), with `a_partition` rows in each part.
    Or with so many to a `pack`.
    """
    ids = pa.array(range(rows), pa.int64())
    parts = pa.array([number // a_partition for number in range(rows)], pa.int64())
    batch = pa.record_batch({"part": parts, "id": ids, "x": ids.cast(pa.float32())})
    options = {"replicas": str(replicas), "consistency": "ALL"}  # any replica may be read next
    if pack is not None:
        _write(cluster.source(table), batch, ["id"], options | {"pack": str(pack)})
        return
    _write(cluster.source(table), batch, ["part", "id"], options)


def _write(
    source: DataSource, batch: pa.RecordBatch, key: Sequence[str], options: Mapping[str, str]
) -> None:
    with (
        closing(connect(source)) as database,
        closing(database.writer(batch.schema, key=key, options=options)) as writer,
    ):
        writer.write(batch)


def data_of(source: DataSource, **changes: object) -> dict[str, object]:
    """The `data` of a job that reads id and x from `source`."""
    endpoints = [f"{host}:{port}" for host, port in source.endpoints]
    names: dict[str, object] = {"cache": source.table}
    if source.kind == "cassandra":
        keyspace, _, table = source.table.partition(".")
        names = {"keyspace": keyspace, "table": table}
    return {source.kind: {"endpoints": endpoints, **names, "columns": ["id", "x"], **changes}}


@dataclass
class Job:
    """A TrainingJob in `folder`, its script beside it.

    `dies` names moments at which the script kills itself, as `generation:rank:step`; at `waits`,
    of the same form, it says that it got there and waits for what `run_through` does.
    """

    folder: Path
    cluster: Cluster
    table: str
    dies: str = ""
    waits: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    script: str = SCRIPT

    def __post_init__(self) -> None:
        spec: dict[str, Any] = {
            "data": data_of(self.cluster.source(self.table)),
            "trainer": {"framework": "Torch", "command": ["python", "train.py"]},
            "training": {"epochs": 3, "globalBatchSize": 64, "seed": 3},
            "checkpoint": {"everySteps": 5, "keepLast": 2},
        }
        manifest = {
            "apiVersion": "insitu.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": "job"},
            "spec": spec | dict(self.spec),
        }
        self.manifest.write_text(yaml.safe_dump(manifest))
        (self.folder / "train.py").write_text(self.script)

    @property
    def manifest(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def status(self) -> Any:
        return json.loads((self.folder / ".insitu" / "job" / "status.json").read_text())

    def condition(self, kind: str) -> Any:
        """The condition of that type in the status."""
        return next(c for c in self.status["conditions"] if c["type"] == kind)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """`insitu run`, in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", "insitu_operator", "run", str(self.manifest), *options],
            env=os.environ
            | {
                "INSITU_AUDIT_DIR": str(self.folder / "audit"),
                "INSITU_AUDIT_COLUMN": "id",
                "TEST_DIES": self.dies,
                "TEST_WAITS": self.waits,
                "TEST_FOLDER": str(self.folder),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *options: str) -> tuple[int, str]:
        """`insitu run` to its end: exit code and everything it said."""
        with self.start(*options) as process:
            said, _ = process.communicate(timeout=100)
        return process.returncode, said

    def run_through(self, event: Callable[[subprocess.Popen[str]], object]) -> tuple[int, str]:
        """`run`, with `event` happening to it at the moment of `waits`."""
        with self.start() as process:
            wait_for(
                lambda: (self.folder / "waiting").exists(), process, "the script never came to wait"
            )
            event(process)
            (self.folder / "go").touch()
            said, _ = process.communicate(timeout=100)
        return process.returncode, said

    def interrupt(self, run: subprocess.Popen[str]) -> None:
        """Ctrl-C; returns when the trainers have been told to leave."""
        run.send_signal(signal.SIGINT)
        until(lambda: self.status["summary"]["status"].startswith("Stopping"))

    @property
    def lineage(self) -> list[Commit]:
        """The commits that the newest one is made of, oldest first."""
        return lineage((self.folder / ".insitu" / "job" / "checkpoints").as_uri(), "job")

    def committed(self) -> Counter[tuple[int, int]]:
        """How often each (epoch, id) entered the parameters of the newest commit."""
        return committed(self.lineage, self.audited())

    def audited(self) -> Iterator[Line]:
        """Every step of every rank, committed or not."""
        for path in (self.folder / "audit").glob("*.jsonl"):
            for line in path.read_text().splitlines():
                if line.endswith("}"):  # A killed rank may leave half a line.
                    yield json.loads(line)


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[str], failure: str) -> None:
    """Polls until `reached`; fails when the process ends before, or after 60 seconds."""
    deadline = time.monotonic() + 60
    while not reached():
        if process.poll() is not None:
            raise AssertionError(f"{failure}; insitu run ended and said:\n{process.stdout.read()}")  # type: ignore[union-attr]
        if time.monotonic() > deadline:
            process.terminate()
            raise AssertionError(failure)
        time.sleep(0.02)
