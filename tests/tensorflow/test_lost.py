"""Ranks that die, freeze, crash or are asked to leave: nobody ever waits for long."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pyarrow as pa
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from insitu.checkpoint import CommitLog, open_store
from insitu.contract import Reporting, to_environ, write_document
from insitu.contract.assignment import Checkpoint
from insitu.databases import DataSource
from insitu.errors import ExitCode
from insitu.scalars import Mirror
from tests.memory import save
from tests.ranks import a_job, assignments
from tests.tensorflow.cases import Case, database
from tests.tensorflow.processes import SECONDS, free_port, start_script

pytestmark = pytest.mark.timeout(300)
SCRIPT = Path(__file__).with_name("script.py")
PEER_LOST = ExitCode.PEER_LOST
ROWS = 400


class Job:
    """Ranks of a script over a table on disk, generation by generation."""

    def __init__(self, folder: Path, world_size: int) -> None:
        self.folder = folder
        self.world_size = world_size
        self.tables = database(Case(sizes=(ROWS // 4, ROWS // 2, ROWS // 4)))
        self.source = self._saved()
        self.processes: list[ForkServerProcess] = []

    def start(self, generation: int = 1, epochs: int = 50, **knobs: str) -> None:
        master = ("127.0.0.1", free_port())
        base = a_job(
            generation=generation,
            master=master,
            checkpoint=Checkpoint(store=(self.folder / "store").as_uri(), every_steps=3),
        )
        self.processes = []
        for job in assignments(self.tables, self.world_size, base):
            document = self.folder / f"{generation}-{job.rank}.json"
            write_document(replace(job, source=self.source), document)
            reporting = Reporting(audit_directory=self.folder / "audit", audit_column="id")
            environ = to_environ(job, document) | reporting.to_environ() | {"EPOCHS": str(epochs)}
            errors = self.folder / f"errors-{job.rank}"
            self.processes.append(start_script(SCRIPT, environ | knobs, errors))

    def ended(self, *ranks: int) -> list[int | None]:
        """Exit codes, once these ranks have ended; none of them may take long."""
        for rank in ranks:
            self.processes[rank].join(SECONDS)
            print(f"rank {rank} said:\n{self.said(rank)}")  # noqa: T201 - where a test fails
        return [self.processes[rank].exitcode for rank in ranks]

    def said(self, rank: int) -> str:
        return (self.folder / f"errors-{rank}").read_text()

    @property
    def steps(self) -> int:
        """Of the newest commit."""
        commit = CommitLog(open_store((self.folder / "store").as_uri()), "job").newest().commit
        return commit.cursor.step if commit else 0

    def _saved(self) -> DataSource:
        tables = [
            table.append_column("shard", pa.array([int(shard)] * table.num_rows))
            for shard, table in self.tables.shards.items()
        ]
        return save(tables, self.folder / "table.arrow")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    started = Job(tmp_path, 3)
    yield started
    for process in started.processes:
        if process.exitcode is None and process.pid:
            os.kill(process.pid, signal.SIGKILL)
        process.join(SECONDS)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_rank_ends_all_others_at_once(job: Job, victim: int) -> None:
    job.start(SIGNAL="9", SIGNAL_AT="5", VICTIM=str(victim))
    others = [rank for rank in range(3) if rank != victim]
    assert job.ended(*others) == [PEER_LOST, PEER_LOST]
    assert job.ended(victim) == [-9]
    assert all("PeerLost: another rank went away" in job.said(rank) for rank in others)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_frozen_rank_is_waited_for_only_so_long(job: Job, victim: int) -> None:
    job.start(SIGNAL="19", SIGNAL_AT="5", VICTIM=str(victim), TIMEOUT_SECONDS="5")
    others = [rank for rank in range(3) if rank != victim]
    assert job.ended(*others) == [PEER_LOST, PEER_LOST]


def test_a_script_that_fails_ends_the_others_and_keeps_its_own_error(job: Job) -> None:
    job.start(CRASH_AT="5", VICTIM="1")
    assert job.ended(0, 1, 2) == [PEER_LOST, 1, PEER_LOST]
    assert "ZeroDivisionError" in job.said(1)


def test_a_rank_that_never_comes_is_told(job: Job) -> None:
    job.world_size = 2
    job.start(JOIN_SECONDS="3")
    lonely = job.processes.pop()
    assert lonely.pid
    os.kill(lonely.pid, signal.SIGKILL)
    lonely.join(SECONDS)
    assert job.ended(0) == [PEER_LOST]


def test_sigterm_commits_and_leaves_and_the_next_generation_goes_on(job: Job) -> None:
    job.start(SIGNAL="15", SIGNAL_AT="5", VICTIM="1", epochs=1)
    assert job.ended(0, 1, 2) == [ExitCode.LEFT] * 3
    assert job.steps == 5
    job.start(generation=2, epochs=2)
    assert job.ended(0, 1, 2) == [ExitCode.DONE] * 3
    assert job.steps == 2 * (ROWS // 32 + 1)


def test_after_a_kill_every_row_is_part_of_the_commits_exactly_once(job: Job) -> None:
    job.start(SIGNAL="9", SIGNAL_AT="11", VICTIM="1", epochs=2)
    job.ended(0, 1, 2)
    first = job.steps
    assert first == 9
    job.start(generation=2, epochs=2)
    assert job.ended(0, 1, 2) == [ExitCode.DONE] * 3
    taken = audited(job.folder / "audit", 1, first) + audited(job.folder / "audit", 2, 10**9)
    assert taken == Counter((epoch, row) for epoch in range(2) for row in range(ROWS))


def test_a_killed_rank_0_leaves_every_step_drawn_once(job: Job) -> None:
    job.start(SIGNAL="9", SIGNAL_AT="11", VICTIM="0", epochs=2)
    job.ended(0, 1, 2)
    job.start(generation=2, epochs=2)
    assert job.ended(0, 1, 2) == [ExitCode.DONE] * 3
    Mirror(open_store((job.folder / "store").as_uri()), "job", job.folder / "curves").update()
    first = drawn(job.folder / "curves" / "job" / "generation-1-to-step-9")
    second = drawn(job.folder / "curves" / "job" / "generation-2")
    assert first + second == list(range(1, job.steps + 1))


def drawn(run: Path) -> list[int]:
    """The steps of a run's loss, as TensorBoard itself reads them."""
    found = EventAccumulator(str(run))
    found.Reload()
    return [event.step for event in found.Scalars("loss")]


def audited(folder: Path, generation: int, last_step: int) -> Counter[tuple[int, int]]:
    found: Counter[tuple[int, int]] = Counter()
    for path in folder.glob(f"generation-{generation}-*.jsonl"):
        for line in map(json.loads, path.read_text().splitlines()):
            if line["step"] <= last_step:
                found.update((line["epoch"], key) for key in line["keys"])
    return found
