"""What a run commits, and how another goes on from it: ranks are threads, the table in memory."""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.contract import ALONE, Assignment, Checkpoint, Reporting
from insitu.databases import DataSource
from insitu.errors import (
    ConfigurationError,
    ExitCode,
    Left,
    OtherJob,
    StaleGeneration,
    StoreError,
    exit_code,
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
    newest = max(tmp_path.glob("job/data/0/4/*"), key=lambda path: path.stat().st_mtime)
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
    for path in tmp_path.glob("job/data/0/*/*"):
        path.write_bytes(path.read_bytes()[:-1])
    ran = train(database, plan(database, 1, tmp_path, generation=2))
    assert says(ran, StoreError, "--fresh")


def test_a_job_made_again_under_its_name_begins_at_the_first_row(tmp_path: Path) -> None:
    database = MemoryDatabase(table(32))
    train(database, plan(database, 1, tmp_path, generation=7, run="a"))
    ran = train(database, plan(database, 2, tmp_path, generation=1, run="b"))
    assert errors(ran) == [None, None]
    assert used(ran) == Counter(range(32))


def test_a_job_that_another_one_has_taken_over_from_ends_for_good(tmp_path: Path) -> None:
    database = MemoryDatabase(table(30, 30))

    def take_over(session: Session, step: int) -> None:
        if step == 2 and session._assignment.rank == 0:
            train(database, plan(database, 1, tmp_path, run="b"))

    ran = train(database, plan(database, 2, tmp_path, every=3, run="a"), at_step=take_over)
    again = train(database, plan(database, 2, tmp_path, generation=9, run="a"))
    for rank in (*ran, *again):
        assert says([rank], OtherJob, r"another job \(uid b.*another name or another prefix")
        assert exit_code(rank.error) is ExitCode.CONFIGURATION  # type: ignore[arg-type]


def test_a_commit_that_was_asked_for_is_begun_from(tmp_path: Path) -> None:
    database = MemoryDatabase(table(32))
    train(database, plan(database, 1, tmp_path, every=1, run="a"))
    assert len(train(database, begun_from(3, plan(database, 1, tmp_path, run="b")))[0].batches) == 1
    wrong = begun_from(77, plan(database, 1, tmp_path, run="c"))
    assert says(train(database, wrong), ConfigurationError, "can't resume job from commit 77")


def test_it_is_begun_from_again_until_the_run_has_committed_past_it(tmp_path: Path) -> None:
    def kill(at: int) -> Callable[[Session, int], None]:
        def act(_session: Session, step: int) -> None:
            if step == at:
                raise ZeroDivisionError

        return act

    database = MemoryDatabase(table(64))  # Eight steps a pass.
    train(database, plan(database, 1, tmp_path, every=1, run="a"), at_step=kill(8))
    first, second, third = (
        train(database, begun_from(6, plan(database, 1, tmp_path, every, g, "b")), at_step=kill(at))
        for g, every, at in ((1, 0, 8), (2, 1, 8), (3, 1, 99))
    )
    assert [len(ran[0].batches) for ran in (first, second, third)] == [1, 1, 1]
    assert third[0].parameters.rows == 64


@pytest.mark.parametrize("run", ["a", "b"])
@pytest.mark.parametrize("other", ["table", "shards", "filter"])
def test_a_cursor_of_other_data_is_refused_with_both_named(
    tmp_path: Path, other: str, run: str
) -> None:
    source = DataSource("memory", (("127.0.0.1", 1),), "t")
    database = MemoryDatabase(table(8, 8, 8))
    train(database, plan(database, 1, tmp_path, every=1, run="a"))
    match other:
        case "table":
            source = replace(source, table="other")
        case "filter":
            source = replace(source, options={"where": "id < 9"})
        case "shards":
            database = MemoryDatabase(table(6, 6, 6, 6))
    job = begun_from(3, plan(database, 2, tmp_path, generation=2, run=run))
    ran = train(database, [replace(rank, source=source) for rank in job])
    words = {
        "table": r"table t in 3 .*table other in 3 shards",
        "filter": r"table t in 3 .*table t where id < 9 in 3 shards",
        "shards": r"table t in 3 .*table t in 4 shards",
    }
    assert all(says([rank], ConfigurationError, words[other]) for rank in ran)


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
    run: str = ALONE,
) -> list[Assignment]:
    checkpoint = Checkpoint(f"file://{store}", every_steps=every)
    job = a_job(checkpoint=checkpoint, generation=generation, run=run)
    return assignments(database, world_size, job)


def begun_from(seq: int, job: list[Assignment]) -> list[Assignment]:
    """The same, with `checkpoint.resumeFrom`."""
    return [replace(rank, checkpoint=replace(rank.checkpoint, resume_from=seq)) for rank in job]


def log_generation(told: Sequence[Reporting]) -> int:
    """The highest that any rank has reported."""
    found = [read_progress(one.progress) for one in told if one.progress]
    return max(progress.log_generation for progress in found if progress)


def committed(ran: list[Ran], steps: int) -> Counter[int]:
    """The rows of the first `steps` steps."""
    return Counter(chain.from_iterable(chain.from_iterable(r.batches[:steps] for r in ran)))
