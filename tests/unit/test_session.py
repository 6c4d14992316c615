"""A training run, over ranks that are threads and a table in memory."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.contract import Reporting, Training
from insitu.databases import Database
from insitu.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    DataChanged,
    DataLost,
    Left,
    NotOwner,
    PeerLost,
)
from insitu.progress import read_progress
from insitu.session import Session
from insitu.session.collective import Alone
from insitu.session.commits import Commits
from insitu.topology import NodeId, ShardId
from tests.memory import MemoryDatabase
from tests.ranks import (
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


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(any),
    world_size=st.integers(1, 4),
    batch_size=st.integers(1, 30),
    epochs=st.integers(1, 2),
)
def test_every_row_is_used_once_an_epoch(
    sizes: list[int], world_size: int, batch_size: int, epochs: int
) -> None:
    database = MemoryDatabase(table(*sizes))
    ran = train(database, assignments(database, world_size), epochs=epochs, batch_size=batch_size)
    assert errors(ran) == [None] * world_size
    assert used(ran) == Counter(dict.fromkeys(range(sum(sizes)), epochs))


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(any),
    world_size=st.integers(1, 4),
)
def test_all_ranks_make_the_same_steps_and_know_the_whole_batch(
    sizes: list[int], world_size: int
) -> None:
    database = MemoryDatabase(table(*sizes))
    ran = train(database, assignments(database, world_size), batch_size=8)
    assert len({tuple(rank.rows_global) for rank in ran}) == 1
    for step, rows in enumerate(ran[0].rows_global):
        assert rows == sum(len(rank.batches[step]) for rank in ran) > 0


def test_batches_are_full_but_for_the_last() -> None:
    database = MemoryDatabase(table(50, 3, 20, 30))
    ran = train(database, assignments(database, 3), batch_size=10)
    assert ran[0].rows_global == [10] * 10 + [3]


def test_a_rank_without_shards_takes_part_with_empty_batches() -> None:
    database = MemoryDatabase(table(12))
    ran = train(database, assignments(database, 2), batch_size=4)
    assert ran[1].batches == [[], [], []]
    assert ran[1].rows_global == [4, 4, 4]


def test_every_rank_holds_the_whole_cursor() -> None:
    database = MemoryDatabase(table(10, 20, 30))
    seen: list[dict[ShardId, int]] = []
    train(
        database,
        assignments(database, 3),
        batch_size=20,
        at_step=lambda session, step: (
            seen.append(dict(session.cursor.taken)) if step == 3 else None
        ),
    )
    assert seen[0] == seen[1] == seen[2]
    assert sum(seen[0].values()) == 40


def test_the_script_wins_over_the_job_and_the_job_over_nothing() -> None:
    database = MemoryDatabase(table(12))
    job = a_job(training=Training(epochs=3, global_batch_size=6))
    plan = assignments(database, 1, job)
    assert len(train(database, plan, epochs=None, batch_size=None)[0].batches) == 6
    assert len(train(database, plan, epochs=1, batch_size=4)[0].batches) == 3


def test_a_size_that_nobody_said_is_asked_for() -> None:
    ran = one_rank(epochs=None)
    assert says(ran, ConfigurationError, r"batches\(epochs=...\), or spec.training.epochs")
    assert says(
        one_rank(batch_size=0), ConfigurationError, "batch_size has to be a whole number, 1 to"
    )


def test_a_batch_without_a_step_is_noticed() -> None:
    database = MemoryDatabase(table(12))
    session = a_session(database)
    batches = session.batches(1, 4)
    next(batches)
    with pytest.raises(ConfigurationError, match="step 1 was not used"):
        next(batches)


def test_a_step_without_a_batch_is_noticed() -> None:
    with pytest.raises(ConfigurationError, match="no batch to advance"):
        a_session(MemoryDatabase(table(1))).advance()


def test_asked_to_stop_on_one_rank_all_leave_after_the_same_step() -> None:
    def stop(session: Session, step: int) -> None:
        if step == 2 and session._assignment.rank == 1:
            session.leave()

    database = MemoryDatabase(table(40, 40, 40))
    ran = train(database, assignments(database, 3), batch_size=10, at_step=stop)
    assert all(says([rank], Left, "after step 2") for rank in ran)
    assert [len(rank.batches) for rank in ran] == [2, 2, 2]


def test_two_ranks_with_the_same_shard_are_refused() -> None:
    database = MemoryDatabase(table(5, 5))
    first, second = assignments(database, 2)
    ran = train(database, [first, replace(second, shards=first.shards)])
    assert says(ran, ConfigurationError, "shard 0 is read by rank 0 and by rank 1")


def test_ranks_of_two_generations_refuse_each_other() -> None:
    database = MemoryDatabase(table(5, 5))
    first, second = assignments(database, 2)
    ran = train(database, [first, replace(second, generation=9)])
    assert says(ran, ConfigurationError, "disagree about generation: rank 0 has 1")


def test_a_rank_that_fails_takes_the_others_along() -> None:
    def fail(session: Session, step: int) -> None:
        if step == 2 and session._assignment.rank == 1:
            raise ZeroDivisionError

    database = MemoryDatabase(table(40, 40))
    ran = train(database, assignments(database, 2), at_step=fail)
    assert isinstance(ran[1].error, ZeroDivisionError)
    assert says(ran[:1], PeerLost, "another rank")


def test_rows_that_vanish_end_the_job() -> None:
    database = MemoryDatabase(table(20, 20))
    plan = [replace(a, rows=50) for a in assignments(database, 2)]
    assert says(train(database, plan), (DataLost, DataChanged), "10 of 50 rows")


def test_rows_that_vanish_are_only_counted_where_the_job_goes_on(tmp_path: Path) -> None:
    database = MemoryDatabase(table(20))
    plan = [replace(a, rows=50, on_data_change="Continue") for a in assignments(database, 1)]
    reporting = Reporting(progress=tmp_path / "p.json")
    assert errors(train(database, plan, epochs=2, reporting=[reporting])) == [None]
    progress = read_progress(tmp_path / "p.json")
    assert progress
    assert progress.inexact_epochs == 1


def test_a_script_that_reads_some_shards_only_is_not_told_that_rows_are_missing() -> None:
    database = MemoryDatabase(table(20, 20))
    plan = [replace(a, rows=None, shards=a.shards[:1]) for a in assignments(database, 1)]
    assert errors(train(database, plan)) == [None]


def test_a_remote_shard_is_refused_where_locality_is_required() -> None:
    database = two_nodes()
    plan = [replace(a, locality="Required") for a in assignments(database, 1)]
    assert says(train(database, plan), NotOwner, "node a holds no readable copy of shard 1")


def test_remote_rows_are_read_and_counted_where_they_may_be(tmp_path: Path) -> None:
    database = two_nodes()
    plan = [replace(a, locality="Ignored") for a in assignments(database, 1)]
    ran = train(database, plan, reporting=[Reporting(progress=tmp_path / "p.json")])
    assert used(ran) == Counter(range(30))
    progress = read_progress(tmp_path / "p.json")
    assert progress
    assert progress.rows_remote >= 20
    assert 10 <= progress.rows_local < 20


def test_a_preferred_owner_that_goes_away_is_replaced_by_the_next_at_its_cursor() -> None:
    database = MemoryDatabase(
        table(40, 40), nodes=[NodeId("a"), NodeId("b")], lose_after={NodeId("a"): 5}
    )
    plan = [replace(a, locality="Preferred", rows=80) for a in assignments(database, 1)]
    assert used(train(database, plan)) == Counter(range(80))


def test_an_owner_that_goes_away_ends_the_job_where_locality_is_required() -> None:
    database = MemoryDatabase(
        table(40, 40), nodes=[NodeId("a"), NodeId("b")], lose_after={NodeId("a"): 5}
    )
    ran = train(database, assignments(database, 1))
    assert says(ran, DatabaseUnavailable, "node a went away")


def test_when_every_owner_is_gone_the_last_errors_are_told() -> None:
    nodes = [NodeId("a"), NodeId("b")]
    database = MemoryDatabase(table(90), nodes=nodes, lose_after=dict.fromkeys(nodes, 4))
    plan = [replace(a, locality="Preferred") for a in assignments(database, 1)]
    assert says(train(database, plan), DatabaseUnavailable, "no owner of shard 0 can be read")


def test_the_audit_names_every_row_of_every_step(tmp_path: Path) -> None:
    database = MemoryDatabase(table(9, 9, 9))
    told = Reporting(audit_directory=tmp_path, audit_column="id")
    ran = train(database, assignments(database, 2), batch_size=5, reporting=[told, told])
    lines = [
        json.loads(line)
        for path in sorted(tmp_path.glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert Counter(key for line in lines for key in line["keys"]) == used(ran)
    assert {(line["generation"], line["epoch"], line["rank"]) for line in lines} == {
        (1, 0, 0),
        (1, 0, 1),
    }
    assert {line["step"] for line in lines} == set(range(1, 7))


def test_progress_tells_how_far_the_whole_job_is(tmp_path: Path) -> None:
    database = MemoryDatabase(table(30, 10))
    told = [Reporting(progress=tmp_path / f"{rank}.json") for rank in range(2)]
    train(database, assignments(database, 2), epochs=2, batch_size=10, reporting=told)
    progress = read_progress(tmp_path / "1.json")
    assert progress
    assert (progress.epoch, progress.epochs, progress.step) == (2, 2, 8)
    assert (progress.percent, progress.eta_seconds, progress.state) == (100.0, 0.0, "done")
    assert progress.rows_total == 40
    assert progress.first_step_seconds is not None


def test_a_wish_for_rows_a_page_becomes_a_limit_in_bytes() -> None:
    database = MemoryDatabase(table(30))
    wished = [replace(a, page_rows=20) for a in assignments(database, 1)]
    assert used(train(database, wished)) == Counter(range(30))
    assert database.limits[-1].page_bytes == 20 * 8


def test_asked_to_stop_after_the_last_step_there_is_nothing_to_wait_for() -> None:
    session = a_session(MemoryDatabase(table(3)))
    for _ in session.batches(1, 3):
        session.advance()
    with pytest.raises(Left, match="after the last step, 1"):
        session.leave()


def test_the_database_is_closed_with_the_session() -> None:
    database = MemoryDatabase(table(3))
    train(database, assignments(database, 1))
    assert database.closed


def two_nodes() -> MemoryDatabase:
    """Shard 0 is on node a, shard 1 on node b."""
    owners = {ShardId("0"): [NodeId("a")], ShardId("1"): [NodeId("b")]}
    return MemoryDatabase(table(10, 20), nodes=[NodeId("a"), NodeId("b")], owners=owners)


def one_rank(epochs: int | None = 1, batch_size: int | None = 8) -> list[Ran]:
    database = MemoryDatabase(table(12))
    return train(database, assignments(database, 1), epochs=epochs, batch_size=batch_size)


def a_session(database: Database) -> Session:
    assignment = a_job()
    return Session(assignment, Alone(), database, Commits(assignment, Alone(), Parameters()))
