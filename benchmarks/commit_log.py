"""What a start and a commit cost by how many commits there are already, in a directory and in S3.

The S3 server is the testbed's, on this machine, so its figures hold no way through a network: count
the requests for that.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.results import Result
from insitu.checkpoint import CommitLog, Store, Writer, open_store, sweep, write_part
from insitu.checkpoint.records import encode
from insitu.checkpoint.store import Buffer, StoredObject
from insitu.data import Cursor
from testbed import s3

KEPT = 3
FEW = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """`many` commits against a hundred, `rounds` of each."""

    many: int
    rounds: int


def quick_plan() -> Plan:
    return Plan(many=2000, rounds=2)


def full_plan() -> Plan:
    return Plan(many=100_000, rounds=9)


def run(plan: Plan) -> Iterator[Result]:
    """One line a measurement: milliseconds, against the same beside a short log."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _both("directory", f"file://{folder}", Path(folder), plan)
    if shutil.which("go") is None and not s3.is_built():
        return
    with s3.start() as server, _variables(server.environment):
        server.create_bucket("bench")
        yield from _both("s3", "s3://bench", server.buckets / "bench", plan)


def _both(kind: str, url: str, folder: Path, plan: Plan) -> Iterator[Result]:
    few, many = (_Log(url, folder, f"of-{size}", size) for size in (FEW, plan.many))
    for what in ("open", "commit"):
        short = _timed(few, what, plan.rounds)
        spent, asked = _timed(many, what, plan.rounds), many.store.asked
        yield Result(
            name=f"commit_log.{kind}.{what}",
            value=round(statistics.median(spent), 2),
            unit="ms",
            against=f"the same with {FEW} commits",
            ratio=round(statistics.median(spent) / statistics.median(short), 2),
            conditions={
                "commits": plan.many,
                "requests": asked,
                "cores": os.cpu_count(),
                "rounds": plan.rounds,
                "spread": [round(min(spent), 2), round(max(spent), 2)],
            },
        )


def _timed(log: _Log, what: str, rounds: int) -> list[float]:
    work: Callable[[], None] = log.open if what == "open" else log.commit
    spent = []
    for _ in range(rounds):
        log.store.asked = 0
        start = time.perf_counter()
        work()
        spent.append((time.perf_counter() - start) * 1000)
    return spent


class _Log:
    """A log of `size` commits of one writer, whose last ones have parts of 1 KB."""

    def __init__(self, url: str, folder: Path, job: str, size: int) -> None:
        self.store = _Counting(open_store(url))
        self.log = CommitLog(self.store, job)
        self.generation = 0
        self.writer = self._fence()
        self.step = 0
        made = self.writer.commit(Cursor(), [], world_size=1, time=datetime.now(UTC))
        for seq in range(made.seq + 1, size):
            path = folder / job / f"commits/{seq:012d}.json"
            path.write_bytes(encode(replace(made, seq=seq)))
        self.writer.last = size - 1
        for _ in range(KEPT + 1):
            self.commit()

    def open(self) -> None:
        """What rank 0 does at a start: shuts out the older generation and finds its commit."""
        self.writer = self._fence()
        newest = self.log.newest(run="", history=self.writer.history).commit
        assert newest is not None
        self.commit()

    def commit(self) -> None:
        """One commit of one part, and its sweep."""
        self.step += 1
        part = write_part(
            self.store,
            self.log.job,
            fence=self.writer.fence.seq,
            step=self.step,
            rank=0,
            unique="part",
            buffers=[bytes(1024)],
        )
        self.writer.commit(Cursor(step=self.step), [part], world_size=1, time=datetime.now(UTC))
        sweep(self.writer, KEPT)

    def _fence(self) -> Writer:
        self.generation += 1
        name = f"writer-{self.generation}"
        return self.log.fence(self.generation, writer=name, time=datetime.now(UTC))


@dataclass
class _Counting:
    """A store that counts what it is asked for."""

    inner: Store
    asked: int = field(default=0)

    @property
    def url(self) -> str:
        return self.inner.url

    def put(self, name: str, buffers: Sequence[Buffer]) -> None:
        self.asked += 1
        self.inner.put(name, buffers)

    def create_if_absent(self, name: str, data: bytes) -> bool:
        self.asked += 1
        return self.inner.create_if_absent(name, data)

    def get(self, name: str) -> memoryview | None:
        self.asked += 1
        return self.inner.get(name)

    def list(self, prefix: str, after: str | None = None) -> list[StoredObject]:
        self.asked += 1
        return self.inner.list(prefix, after)

    def delete(self, names: Iterable[str]) -> None:
        gone = list(names)
        self.asked += len(gone)
        self.inner.delete(gone)

    def remove_leftovers(self, prefix: str, abandoned: Callable[[str], bool]) -> None:
        self.inner.remove_leftovers(prefix, abandoned)


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
