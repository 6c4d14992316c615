"""Whole trainings on several ranks, each a process of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import insitu.tensorflow
from insitu.checkpoint import CommitLog, open_store
from insitu.contract.assignment import Checkpoint
from tests.ranks import a_job, assignments
from tests.tensorflow.cases import Case, Trained, alone, database, environ, train
from tests.tensorflow.processes import run

pytestmark = pytest.mark.timeout(300)


def steps_of(ranks: list[Trained]) -> list[list[int]]:
    """The rows of each step, of all ranks."""
    return [list(chain(*parts)) for parts in zip(*(rank.ids for rank in ranks), strict=True)]


def assert_same(ranks: list[Trained], case: Case) -> None:
    [single] = run(alone, 1, case, steps_of(ranks))
    for rank in ranks:
        assert not rank.said
        for mine, expected in zip(rank.parameters, single, strict=True):
            assert np.abs(mine - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_an_update_of_any_ranks_is_the_one_of_a_single_process(world_size: int) -> None:
    case = Case(sizes=(100, 7, 41, 0, 23), epochs=2)
    ranks = run(train, world_size, case)
    assert Counter(chain(*steps_of(ranks))) == Counter(dict.fromkeys(range(171), 2))
    assert_same(ranks, case)


@pytest.mark.parametrize("optimizer", ["clipped", "adamw"])
def test_clipping_and_decay_see_the_gradient_of_all_ranks(optimizer: str) -> None:
    case = Case(sizes=(50, 9), optimizer=optimizer)
    assert_same(run(train, 2, case), case)


def test_ranks_that_ran_dry_go_along_with_nothing() -> None:
    case = Case(sizes=(90, 3, 0), batch_size=16)
    ranks = run(train, 3, case)
    assert {len(rank.ids) for rank in ranks} == {6}
    assert ranks[2].ids == [[]] * 6
    assert ranks[2].shapes == [(0, 6)] * 6
    assert_same(ranks, case)


def test_what_drifts_is_that_of_rank_0_once_it_is_committed(tmp_path: Path) -> None:
    checkpoint = Checkpoint(store=tmp_path.as_uri())
    case = Case(sizes=(40, 60), norm=True, job=a_job(checkpoint=checkpoint))
    ranks = run(train, 2, case)
    assert not ranks[0].said
    assert ranks[0].drifted == ranks[1].drifted
    assert len(ranks[0].drifted) == 32


@pytest.mark.parametrize(("before", "after"), [(2, 2), (3, 1), (1, 2)])
def test_another_set_of_ranks_goes_on_where_one_stopped(
    tmp_path: Path, before: int, after: int
) -> None:
    checkpoint = Checkpoint(store=tmp_path.as_uri(), every_steps=2)
    case = Case(sizes=(60, 41), epochs=1, job=a_job(checkpoint=checkpoint))
    first = run(train, before, case)
    more = replace(case, epochs=2, job=a_job(checkpoint=checkpoint, generation=2))
    second = run(train, after, more)
    assert second[0].steps == 4
    for rank in second:
        assert (rank.parameters[0] == first[0].parameters[-1]).all()
    assert Counter(chain(*steps_of(second))) == Counter(range(101))


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        ("scope", "64: variable '.*' was made outside of session.strategy.scope"),
        ("mean", "64: the loss is a mean over this rank's rows"),
        ("scalar", r"64: the loss has the shape \(None,\): it has to be one number"),
    ],
)
def test_a_script_that_cannot_work_is_told(fails: str, says: str) -> None:
    for rank in run(train, 2, Case(sizes=(40, 20), fails=fails)):
        assert_says(rank, says)


def assert_says(rank: Trained, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(rank.said)


@pytest.mark.parametrize("after", [False, True], ids=["with a batch", "after a step"])
def test_a_rank_that_leaves_alone_ends_all_with_its_name(after: bool) -> None:
    case = Case(sizes=(60, 60), leaves=((1, 2),), after=after)
    for rank in run(train, 2, case):
        assert_says(rank, "64: ranks disagree .*rank 0 .*, and rank 1 left its `with` block")


def test_ranks_that_leave_together_commit_and_the_rest_is_trained_later(tmp_path: Path) -> None:
    job = a_job(checkpoint=Checkpoint(store=tmp_path.as_uri()))
    first = run(train, 2, Case(sizes=(60, 41), job=job, leaves=((0, 3), (1, 3))))
    assert [(rank.said, rank.steps) for rank in first] == [("", 2), ("", 2)]
    rest = run(train, 1, Case(sizes=(60, 41), job=replace(job, generation=2)))
    assert (rest[0].parameters[0] == first[0].parameters[-1]).all()
    assert Counter(chain(*steps_of(first), *steps_of(rest))) == Counter(range(101))


@pytest.mark.parametrize("world_size", [1, 2])
def test_an_update_of_several_batches_is_that_of_all_their_rows(world_size: int) -> None:
    case = Case(sizes=(60, 36), batch_size=16, accumulate=3)
    ranks = run(train, world_size, case)
    batches = steps_of(ranks)
    steps = [list(chain(*batches[at : at + 3])) for at in (0, 3)]
    [single] = run(alone, 1, case, steps)
    for rank in ranks:
        assert not rank.said
        for mine, expected in zip(rank.parameters, single, strict=True):
            assert np.abs(mine - expected).max() <= 1e-6 * np.abs(expected).max()


def test_a_job_that_ends_in_an_accumulation_ends_with_an_update(tmp_path: Path) -> None:
    job = a_job(checkpoint=Checkpoint(store=tmp_path.as_uri()))
    run(train, 1, Case(sizes=(60, 36), batch_size=16, accumulate=4, job=job))
    commit = CommitLog(open_store(tmp_path.as_uri()), "job").newest().commit
    assert commit
    assert (commit.cursor.step, commit.cursor.epoch) == (2, 1)


def used_before(rank: int, world_size: int, port: int, case: Case) -> Any:
    from insitu.tensorflow.require import tensorflow

    tensorflow().constant(1) + 1
    return train(rank, world_size, port, case)


def test_tensorflow_that_was_used_before_is_told() -> None:
    for rank in run(used_before, 2, Case(sizes=(4, 4))):
        assert_says(rank, "64: TensorFlow was used before its workers were joined")


def distributed(rank: int, world_size: int, port: int, folder: str) -> list[int]:
    """The ids that a rank sees through `experimental_distribute_dataset`."""
    shared = database(Case(sizes=(50, 9, 0)))
    job = replace(assignments(shared, world_size)[rank], master=("127.0.0.1", port))
    told: dict[str, Any] = {"environ": environ(job, folder), "open_database": lambda _s: shared}
    seen: list[int] = []
    with insitu.tensorflow.session(**told) as session:
        data = insitu.tensorflow.dataset(8, **told)
        for batch in session.strategy.experimental_distribute_dataset(data):
            for part in session.strategy.experimental_local_results(batch["id"]):
                seen += part.numpy().tolist()
    return seen


def test_a_distributed_dataset_keeps_every_row_of_every_worker(tmp_path: Path) -> None:
    ranks = run(distributed, 2, str(tmp_path))
    assert sorted(chain(*ranks)) == list(range(59))
    assert len(ranks[1]) == 9
