"""How a session ends: left by the script, on all ranks or on some, and what is committed then."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.contract import Assignment, Checkpoint, Reporting, Training
from insitu.errors import ConfigurationError, Left, NoRows
from insitu.progress import read_progress
from insitu.session import Session
from insitu.session.collective import Alone
from insitu.session.commits import Commits
from tests.memory import MemoryDatabase
from tests.ranks import (
    BREAK,
    Parameters,
    Ran,
    a_job,
    assignments,
    errors,
    says,
    table,
    train,
    used,
)


@pytest.mark.parametrize("every", [0, 2])
@pytest.mark.parametrize("world_size", [1, 3])
def test_a_loop_left_by_all_ranks_commits_what_was_stepped(
    tmp_path: Path, world_size: int, every: int
) -> None:
    database = MemoryDatabase(table(40, 9, 31))
    first = train(database, plan(database, world_size, tmp_path, every=every), at_step=leaves_at(4))
    assert errors(first) == [None] * world_size
    rest = train(database, plan(database, 2, tmp_path, generation=2))
    assert stepped(first) + used(rest) == Counter(range(80))
    assert {rank.parameters.rows for rank in rest} == {80}


@pytest.mark.parametrize("who", [{0}, {1}, {0, 2}])
def test_ranks_that_disagree_about_leaving_are_all_told_at_once(who: set[int]) -> None:
    database = MemoryDatabase(table(40, 40, 40))
    ran = train(database, assignments(database, 3), at_step=leaves_after(3, only=who))
    others = sorted({0, 1, 2} - who)
    for rank in ran:
        with pytest.raises(ConfigurationError, match="disagree about how to go on after step 3"):
            raise rank.error or AssertionError
        assert f"rank {others[0]} " in str(rank.error) or f"{others}"[1:-1] in str(rank.error)
        assert "left its `with` block" in str(rank.error)


def test_a_rank_that_leaves_at_the_end_of_an_epoch_is_told_too() -> None:
    database = MemoryDatabase(table(8, 8))
    ran = train(database, assignments(database, 2), epochs=2, at_step=leaves_after(2, only={1}))
    assert says(ran[:1], ConfigurationError, "rank 0 asked for the next batch, and rank 1 left")
    assert says(ran[1:], ConfigurationError, "rank 0 asked for the next batch, and rank 1 left")


def test_a_rank_that_never_asks_for_batches_is_told() -> None:
    database = MemoryDatabase(table(8, 8))
    ran = ended_by(database, 2, lambda session, rank: rank == 1 or list(session.batches(1, 8)))
    assert says(ran, ConfigurationError, "rank 1 left its `with` block, and rank 0 asked for")


def test_ranks_that_train_nothing_end_in_peace(tmp_path: Path) -> None:
    database = MemoryDatabase(table(8, 8))
    assert errors(ended_by(database, 2, lambda _session, _rank: None)) == [None, None]


def test_the_script_stops_all_ranks_by_asking_on_one(tmp_path: Path) -> None:
    def stop(session: Session, step: int) -> None:
        if step == 3 and session._assignment.rank == 1:
            session.stop()

    database = MemoryDatabase(table(40, 40))
    told = [Reporting(progress=tmp_path / f"{rank}.json") for rank in range(2)]
    first = train(database, plan(database, 2, tmp_path), epochs=5, at_step=stop, reporting=told)
    assert errors(first) == [None, None]
    assert [len(rank.batches) for rank in first] == [3, 3]
    progress = read_progress(tmp_path / "0.json")
    assert progress
    assert (progress.state, progress.epoch, progress.epochs, progress.commit_step) == (
        "done",
        0,
        5,
        3,
    )
    rest = train(database, plan(database, 2, tmp_path, generation=2))
    assert used(first) + used(rest) == Counter(range(80))


def test_a_rank_that_stops_and_leaves_at_once_takes_the_others_along(tmp_path: Path) -> None:
    database = MemoryDatabase(table(40, 40))
    ran = ended_by(
        database,
        2,
        lambda session, rank: step_until(session, 3, then_stop=rank == 0),
        plan(database, 2, tmp_path),
    )
    assert errors(ran) == [None, None]
    assert {rank.session._commits.newest.step for rank in ran if rank.session} == {3}  # type: ignore[union-attr]


def test_asked_to_leave_while_one_rank_has_left_all_commit_and_leave(tmp_path: Path) -> None:
    def asked(session: Session, rank: int) -> None:
        step_until(session, 3, then_stop=False, leave=rank == 1, breaks=rank == 0)

    database = MemoryDatabase(table(40, 40))
    ran = ended_by(database, 2, asked, plan(database, 2, tmp_path))
    assert all(says([rank], Left, "left after step 3") for rank in ran)


def test_an_exception_commits_nothing(tmp_path: Path) -> None:
    def fail(_session: Session, step: int) -> None:
        if step == 3:
            raise ZeroDivisionError

    database = MemoryDatabase(table(40))
    train(database, plan(database, 1, tmp_path, every=0), at_step=fail)
    again = train(database, plan(database, 1, tmp_path, generation=2))
    assert used(again) == Counter(range(40))


@given(
    every=st.integers(0, 3),
    accumulate=st.integers(1, 5),
    killed_at=st.integers(1, 30),
    before=st.integers(1, 3),
    after=st.integers(1, 3),
)
@settings(max_examples=25)  # each of them writes to a disk
def test_a_crash_in_the_middle_of_an_accumulation_costs_no_row(
    tmp_path_factory: pytest.TempPathFactory,
    every: int,
    accumulate: int,
    killed_at: int,
    before: int,
    after: int,
) -> None:
    seen = Counter[int]()

    def kill(session: Session, _step: int) -> None:
        rank = session._assignment.rank
        seen[rank] += 1
        if seen[rank] == killed_at and rank == 0:
            raise ZeroDivisionError

    database = MemoryDatabase(table(20, 1, 0, 33, 16))
    folder = tmp_path_factory.mktemp("store")
    train(
        database,
        plan(database, before, folder, every=every),
        epochs=2,
        at_step=kill,
        accumulate=accumulate,
    )
    last = train(
        database,
        plan(database, after, folder, generation=2, every=every),
        epochs=2,
        accumulate=accumulate,
    )
    assert errors(last) == [None] * after
    assert {rank.parameters.rows for rank in last} == {140}


def test_an_update_of_several_batches_is_one_step(tmp_path: Path) -> None:
    database = MemoryDatabase(table(40))
    ran = train(database, plan(database, 1, tmp_path), accumulate=2, epochs=2)
    assert ran[0].session
    assert ran[0].session.cursor.step == 5
    assert len(ran[0].batches) == 10


def test_a_loop_that_was_left_can_be_begun_again_with_a_store(tmp_path: Path) -> None:
    seen: list[int] = []

    def script(session: Session) -> None:
        for _ in range(9):
            for batch in session.batches(1, 8):
                seen.extend(batch.table.column("id").to_pylist())
                session.advance()
                if batch.step % 2 == 0:
                    break

    database = MemoryDatabase(table(40, 9, 31))
    assert errors(train(database, plan(database, 1, tmp_path, every=0), script=script)) == [None]
    assert Counter(seen) == Counter(range(80))
    assert says(
        train(database, assignments(database, 1), script=script), ConfigurationError, "name a store"
    )


def test_an_empty_table_is_said_to_be_empty() -> None:
    database = MemoryDatabase(table(0, 0))
    assert says(train(database, assignments(database, 2)), NoRows, "the table is empty")


def test_a_finished_job_says_that_nothing_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = MemoryDatabase(table(10))
    train(database, plan(database, 1, tmp_path))
    train(database, plan(database, 1, tmp_path, generation=2))
    assert "already has 1 epochs, and 1 were asked for: there is nothing left" in caplog.text


def test_a_script_run_alone_says_what_it_left_open(caplog: pytest.LogCaptureFixture) -> None:
    database = MemoryDatabase(table(40))
    job = a_job(generation=0, training=Training(epochs=1, global_batch_size=32))
    ran = train(database, assignments(database, 1, job), epochs=None, batch_size=None)
    assert ran[0].rows_global == [32, 8]
    assert "the script leaves it open: epochs=1, batch_size=32 rows" in caplog.text


def test_batches_in_another_thread_are_refused() -> None:
    session = a_session(MemoryDatabase(table(8)))
    with ThreadPoolExecutor(1) as pool, pytest.raises(ConfigurationError, match="another thread"):
        pool.submit(next, session.batches(1, 8)).result()


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "3", True, 2**63, None, float("nan"), [2]])
@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_no_number_is_refused_by_its_name(name: str, wrong: object) -> None:
    session = a_session(MemoryDatabase(table(8)))
    right: dict[str, object] = {"epochs": 1, "batch_size": 8}
    with pytest.raises(ConfigurationError, match=f"{name} has to be a whole|nobody said {name}"):
        next(session.batches(**right | {name: wrong}))  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    session = a_session(MemoryDatabase(table(8)))
    assert next(session.batches(np.int64(1), np.int32(8))).rows_global == 8  # type: ignore[arg-type]


def leaves_at(step: int) -> Callable[[Session, int], object]:
    """Leaves the loop with the batch of that step in hand."""
    return lambda _session, now: BREAK if now == step else None


def leaves_after(step: int, only: set[int]) -> Callable[[Session, int], object]:
    """Some ranks leave the loop once that step is made; they don't ask for the next batch."""

    def leave(session: Session, now: int) -> object:
        if now == step and session._assignment.rank in only:
            session.advance()
            return BREAK
        return None

    return leave


def step_until(
    session: Session,
    last: int,
    *,
    then_stop: bool = False,
    leave: bool = False,
    breaks: bool = False,
) -> None:
    for batch in session.batches(1, 8):
        session.advance()
        if batch.step == last:
            if then_stop:
                session.stop()
            if leave:
                session.leave()
            if then_stop or breaks:
                break


def ended_by(
    database: MemoryDatabase,
    world_size: int,
    script: Callable[[Session, int], object],
    jobs: list[Assignment] | None = None,
) -> list[Ran]:
    """Ranks that do what `script` does, and then leave their `with` block."""
    return train(
        database,
        jobs or assignments(database, world_size),
        script=lambda session: script(session, session._assignment.rank),
    )


def plan(
    database: MemoryDatabase, world_size: int, folder: Path, every: int = 1, generation: int = 1
) -> list[Assignment]:
    checkpoint = Checkpoint(f"file://{folder}", every_steps=every)
    return [
        replace(assignment, checkpoint=checkpoint, generation=generation)
        for assignment in assignments(database, world_size)
    ]


def stepped(ran: list[Ran]) -> Counter[int]:
    """The rows of all batches that were stepped on."""
    steps = ran[0].session.cursor.step if ran[0].session else 0
    batches = (rank.batches[:steps] for rank in ran)
    return Counter(chain.from_iterable(chain.from_iterable(batches)))


def a_session(database: MemoryDatabase) -> Session:
    assignment = a_job()
    return Session(assignment, Alone(), database, Commits(assignment, Alone(), Parameters()))
