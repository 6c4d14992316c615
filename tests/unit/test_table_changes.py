"""Sessions over a table whose rows come and go: what is noticed when, and how a job goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from insitu.contract import Assignment
from insitu.contract.assignment import Checkpoint
from insitu.errors import DataChanged, DataLost
from insitu.session import Session
from insitu.topology import ShardId
from tests.memory import MemoryDatabase
from tests.ranks import Ran, a_job, assignments, errors, says, table, train

S = ShardId("0")


def a_table(rows: int = 40, *, counts: bool = True) -> MemoryDatabase:
    """Ids 0, 10, 20, ... in one shard, so that there is room between them."""
    database = MemoryDatabase({S: pa.table({"id": pa.array(range(0, 10 * rows, 10))})})
    database.counts = counts
    return database


NONE: frozenset[int] = frozenset()


def change(
    database: MemoryDatabase, *, add: Iterable[int] = NONE, gone: Iterable[int] = NONE
) -> None:
    rows = (set(database.shards[S]["id"].to_pylist()) | set(add)) - set(gone)
    database.shards[S] = pa.table({"id": pa.array(sorted(rows), pa.int64())})


class Job:
    """A job of one rank that is started again and again with the row count of its first start."""

    def __init__(self, database: MemoryDatabase, path: Path, on_change: str = "Fail") -> None:
        self.database = database
        store = Checkpoint(store=path.as_uri(), every_steps=2)
        base = a_job(checkpoint=store, on_data_change=on_change)
        [self.plan] = assignments(database, 1, base)
        self.generation = 0

    def run(self, epochs: int = 2, at: int = 0, **changes: set[int]) -> Ran:
        """Steps of 4 rows; the table changes before step `at`, counted from here."""
        self.generation += 1
        seen: list[int] = []

        def at_step(_session: Session, step: int) -> None:
            seen.append(step)
            if len(seen) == at:
                change(self.database, **changes)

        [ran] = train(
            self.database,
            [replace(self.plan, generation=self.generation)],
            epochs=epochs,
            batch_size=4,
            at_step=at_step,
        )
        return ran


def test_added_rows_end_the_job_at_its_next_commit_and_a_resume_goes_on(tmp_path: Path) -> None:
    job = Job(a_table(), tmp_path)
    ran = job.run(at=3, add={5, 15})
    assert says([ran], DataChanged, "2 were added")
    assert len(ran.batches) == 4
    assert errors([job.run()]) == [None]


def test_a_table_that_changes_between_two_runs_ends_one_of_them(tmp_path: Path) -> None:
    job = Job(a_table(), tmp_path)
    assert errors([job.run(epochs=1)]) == [None]
    change(job.database, add={5})
    assert says([job.run()], DataChanged, "1 were added")
    assert errors([job.run()]) == [None]


def test_rows_that_are_gone_between_two_runs_are_missed_until_they_are_back(tmp_path: Path) -> None:
    job = Job(a_table(), tmp_path)
    assert errors([job.run(epochs=1)]) == [None]
    change(job.database, gone={0})
    for _ in range(2):
        assert says([job.run()], DataLost, r"1 of 40 rows.*onChange to Continue")
    job.plan = replace(job.plan, on_data_change="Continue")
    assert errors([job.run()]) == [None]
    job.plan = replace(job.plan, on_data_change="Fail")
    assert errors([job.run(epochs=3)]) == [None]


def test_a_changed_block_is_noticed_once_however_often_it_is_resumed(tmp_path: Path) -> None:
    job = Job(a_table(counts=False), tmp_path)
    job.plan = replace(job.plan, rows=None)
    assert isinstance(killed(job, 6).error, ZeroDivisionError)
    change(job.database, gone={0, 390})
    assert says([job.run()], DataChanged, "shard 0.*in the middle of")
    ran = job.run()
    assert errors([ran]) == [None]
    assert ran.session is not None
    assert ran.session.cursor.inexact_epochs == 1


def killed(job: Job, at: int) -> Ran:
    """Dies before its step `at`, after a commit in the middle of a block."""
    job.generation += 1

    def at_step(_session: Session, step: int) -> None:
        if step == at:
            raise ZeroDivisionError

    [ran] = train(
        job.database,
        [replace(job.plan, generation=job.generation)],
        batch_size=4,
        at_step=at_step,
    )
    return ran


def test_epochs_are_compared_where_the_database_cannot_count(tmp_path: Path) -> None:
    job = Job(a_table(counts=False), tmp_path)
    job.plan = replace(job.plan, rows=None)
    assert errors([job.run(epochs=1)]) == [None]
    change(job.database, gone={0, 10})
    assert says([job.run(epochs=3)], DataChanged, "took 38 rows, and the one before 40")
    assert errors([job.run(epochs=4)]) == [None]


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("on_change", ["Fail", "Continue"])
def test_an_empty_epoch_after_one_with_rows_is_no_success(
    tmp_path: Path, counts: bool, on_change: str
) -> None:
    job = Job(a_table(counts=counts), tmp_path, on_change)
    if not counts:
        job.plan = replace(job.plan, rows=None)
    assert errors([job.run(epochs=1)]) == [None]
    rows = set(job.database.shards[S]["id"].to_pylist())
    change(job.database, gone=rows)
    for _ in range(2):
        ran = job.run()
        assert says([ran], DataLost, "no row at all|0 are left")
    change(job.database, add=rows)
    while isinstance(ran.error, DataLost | DataChanged):
        ran = job.run()
    assert errors([ran]) == [None]
    assert sum(map(len, ran.batches)) == 40


@pytest.mark.parametrize("counts", [True, False])
def test_continue_counts_the_epochs_that_were_not_exact(tmp_path: Path, counts: bool) -> None:
    job = Job(a_table(counts=counts), tmp_path, "Continue")
    if not counts:
        job.plan = replace(job.plan, rows=None)
    ran = job.run(epochs=4, at=13, add={395, 405, 415})
    assert errors([ran]) == [None]
    assert ran.session is not None
    assert ran.session.cursor.inexact_epochs == 1


def test_steps_are_full_whatever_was_estimated() -> None:
    """As with many vnodes and few rows: 100 rows in 300 shards that say they have none."""
    database = MemoryDatabase(table(*([1, 0, 0] * 100)))
    plan = [no_weights(rank) for rank in assignments(database, 3)]
    ran = train(database, plan, batch_size=8)
    assert errors(ran) == [None] * 3
    assert ran[0].rows_global == [8] * 12 + [4]
    used = Counter(row for rank in ran for batch in rank.batches for row in batch)
    assert used == Counter(range(100))


def no_weights(plan: Assignment) -> Assignment:
    return replace(plan, shards=tuple(replace(shard, weight=0) for shard in plan.shards), rows=None)
