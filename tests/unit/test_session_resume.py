"""What a run commits, and how another goes on from it: ranks are threads, the table in memory."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.contract import Assignment, Checkpoint, Reporting
from insitu.errors import (
    ConfigurationError,
    Left,
    StaleGeneration,
    StoreError,
)
from insitu.progress import read_progress
from insitu.session import Session
from tests.memory import MemoryDatabase
from tests.ranks import (
    Ran,
    a_job,
    assignments,
    errors,
    says,
    table,
    train,
    used,
)


@given(
    before=st.integers(1, 4),
    after=st.integers(1, 4),
    every=st.integers(0, 4),
    killed_at=st.integers(1, 14),
)
@settings(max_examples=25)  # each of them writes to a disk
def test_another_number_of_ranks_goes_on_from_the_last_commit(
    before: int, after: int, every: int, killed_at: int
) -> None:
    def kill(session: Session, step: int) -> None:
        if step == killed_at and session._assignment.rank == 0:
            raise ZeroDivisionError

    database = MemoryDatabase(table(20, 1, 0, 33, 16))
    with tempfile.TemporaryDirectory() as folder:
        first = train(database, plan(database, before, folder, every), epochs=2, at_step=kill)
        kept = first[0].session._commits.newest if first[0].session else None
        second = train(database, plan(database, after, folder, every, generation=2), epochs=2)
    steps = kept.step if kept else 0
    assert errors(second) == [None] * after
    assert committed(first, steps) + used(second) == Counter(dict.fromkeys(range(70), 2))
    assert {rank.parameters.rows for rank in second} == {140}


def test_asked_to_stop_all_commit_and_the_next_start_repeats_nothing(tmp_path: Path) -> None:
    def stop(session: Session, step: int) -> None:
        if step == 3:
            session.leave()

    database = MemoryDatabase(table(40, 40))
    first = train(database, plan(database, 2, tmp_path), at_step=stop)
    assert says(first, Left, "after step 3")
    second = train(database, plan(database, 2, tmp_path, generation=2))
    assert used(first) + used(second) == Counter(range(80))


def test_a_finished_job_has_nothing_left_to_do(tmp_path: Path) -> None:
    database = MemoryDatabase(table(10))
    train(database, plan(database, 1, tmp_path))
    assert train(database, plan(database, 1, tmp_path, generation=2))[0].batches == []
    assert len(train(database, plan(database, 1, tmp_path, generation=3), epochs=2)[0].batches) == 2


def test_an_older_generation_is_refused_at_its_start(tmp_path: Path) -> None:
    database = MemoryDatabase(table(10, 10))
    train(database, plan(database, 2, tmp_path, generation=5))
    told = [Reporting(progress=tmp_path / f"p{rank}.json") for rank in range(2)]
    ran = train(database, plan(database, 2, tmp_path, generation=4), reporting=told)
    assert all(says([rank], StaleGeneration, "generation 5") for rank in ran)
    assert log_generation(told) == 5


def test_an_overtaken_generation_ends_on_all_ranks_at_its_next_commit(tmp_path: Path) -> None:
    database = MemoryDatabase(table(30, 30))

    def overtake(session: Session, step: int) -> None:
        if step == 2 and session._assignment.rank == 0:
            assert log_generation(told) == 1
            train(database, plan(database, 1, tmp_path, generation=2))

    told = [Reporting(progress=tmp_path / f"p{rank}.json") for rank in range(2)]
    job = plan(database, 2, tmp_path, every=3)
    ran = train(database, job, at_step=overtake, reporting=told)
    assert all(says([rank], StaleGeneration, "is over") for rank in ran)
    assert log_generation(told) == 2


def test_a_damaged_newest_commit_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = MemoryDatabase(table(32))
    train(database, plan(database, 1, tmp_path, every=1))
    newest = max(tmp_path.glob("job/data/1/4/*"), key=lambda path: path.stat().st_mtime)
    for path in newest.parent.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    ran = train(database, plan(database, 1, tmp_path, generation=2))
    assert len(ran[0].batches) == 1
    assert "is passed over" in caplog.text


def test_a_store_whose_every_commit_is_damaged_is_not_taken_for_an_empty_one(
    tmp_path: Path,
) -> None:
    database = MemoryDatabase(table(32))
    train(database, plan(database, 1, tmp_path, every=1))
    for path in tmp_path.glob("job/data/1/*/*"):
        path.write_bytes(path.read_bytes()[:-1])
    ran = train(database, plan(database, 1, tmp_path, generation=2))
    assert says(ran, StoreError, "--fresh")


def test_a_commit_that_was_asked_for_is_resumed_from(tmp_path: Path) -> None:
    database = MemoryDatabase(table(32))
    train(database, plan(database, 1, tmp_path, every=1))
    job = plan(database, 1, tmp_path, generation=2)[0]
    resumed = replace(job, checkpoint=replace(job.checkpoint, resume_from=3))
    assert len(train(database, [resumed])[0].batches) == 1
    wrong = replace(resumed, generation=3, checkpoint=replace(job.checkpoint, resume_from=77))
    assert says(train(database, [wrong]), ConfigurationError, "can't resume job from commit 77")


def test_a_store_that_one_rank_cannot_write_ends_all_with_the_same_words(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    database = MemoryDatabase(table(10, 10))
    ran = train(database, plan(database, 2, blocked))
    assert all(isinstance(rank.error, StoreError) for rank in ran)


def test_a_script_run_alone_counts_its_own_generations(tmp_path: Path) -> None:
    database = MemoryDatabase(table(10))
    for _ in range(2):
        assert errors(train(database, plan(database, 1, tmp_path, generation=0))) == [None]


def plan(
    database: MemoryDatabase,
    world_size: int,
    store: Path | str,
    every: int = 0,
    generation: int = 1,
) -> list[Assignment]:
    checkpoint = Checkpoint(f"file://{store}", every_steps=every)
    return assignments(database, world_size, a_job(checkpoint=checkpoint, generation=generation))


def log_generation(told: Sequence[Reporting]) -> int:
    """The highest that any rank has reported."""
    found = [read_progress(one.progress) for one in told if one.progress]
    return max(progress.log_generation for progress in found if progress)


def committed(ran: list[Ran], steps: int) -> Counter[int]:
    """The rows of the first `steps` steps."""
    return Counter(chain.from_iterable(chain.from_iterable(r.batches[:steps] for r in ran)))
