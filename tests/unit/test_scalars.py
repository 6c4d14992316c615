"""Curves in the store: what is recorded, what of it is drawn, and what a lost store costs."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insitu.checkpoint import Store, open_store
from insitu.contract import Checkpoint
from insitu.errors import ConfigurationError, StoreError
from insitu.scalars import Mirror, Recorder, Segment, runs
from insitu.session import Session
from tests.curves import curves, drawn
from tests.memory import MemoryDatabase
from tests.ranks import a_job, assignments, table
from tests.ranks import train as train_ranks


def recorder(store: Store, generation: int = 1, after: int = 0, fence: int = 0) -> Recorder:
    start = fence or generation
    return Recorder(store, "job", fence=start, generation=generation, after=after, now=lambda: 1e9)


def train(store: Store, generation: int, after: int, steps: int, every: int, fence: int = 0) -> int:
    """Steps as a session makes them; the step of the newest commit."""
    recording, committed = recorder(store, generation, after, fence), after
    for step in range(after + 1, after + steps + 1):
        recording.add(step, {"loss": float(generation)})
        if step % every == 0:
            recording.commit(step)
            committed = step
            recording.add(step, {"accuracy": 0.5})
    recording.close()
    return committed


@given(
    lives=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), min_size=1, max_size=5),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_step_is_drawn_once_however_often_a_trainer_dies(
    tmp_path: Path, lives: Sequence[tuple[int, int]]
) -> None:
    store, committed, last = open_store("memory:///"), 0, 0
    mirror = Mirror(store, "job", tmp_path)
    for generation, (steps, every) in enumerate(lives, start=1):
        last = max(committed, committed + steps) if steps else last
        committed = train(store, generation, committed, steps, every)
        mirror.update()  # One that follows shows the same as one that comes later.
    expected = [step for curve in drawn(tmp_path).values() for step, _ in curve]
    assert sorted(expected) == list(range(1, last + 1))
    Mirror(store, "job", tmp_path / "later").update()
    assert drawn(tmp_path / "later") == drawn(tmp_path)


def test_a_run_ends_where_the_next_generation_went_on(tmp_path: Path) -> None:
    store = open_store("memory:///")
    assert train(store, 1, 0, steps=8, every=3) == 6
    train(store, 2, 6, steps=4, every=3)
    assert [run.name for run in Mirror(store, "job", tmp_path).update()] == [
        "generation-1-to-step-6",
        "generation-2",
    ]
    assert drawn(tmp_path) == {
        "generation-1-to-step-6": [(step, 1.0) for step in range(1, 7)],
        "generation-2": [(step, 2.0) for step in range(7, 11)],
    }
    accuracies = {
        run: [step for step, _ in curve] for run, curve in drawn(tmp_path, "accuracy").items()
    }
    assert accuracies == {"generation-1-to-step-6": [3, 6], "generation-2": [9]}


def test_going_on_from_an_older_commit_cuts_all_that_came_after_it(tmp_path: Path) -> None:
    store = open_store("memory:///")
    for generation, after in ((1, 0), (2, 6), (3, 3)):
        train(store, generation, after, steps=6, every=3)
    names = [run.name for run in Mirror(store, "job", tmp_path).update()]
    assert names == ["generation-1-to-step-3", "generation-3"]


def test_a_job_made_again_counts_its_generations_anew_and_is_drawn_beside(tmp_path: Path) -> None:
    store = open_store("memory:///")
    for fence, generation, after in ((1, 1, 0), (9, 2, 6), (20, 1, 9), (33, 2, 12)):
        train(store, generation, after, steps=6, every=3, fence=fence)
    names = [run.name for run in Mirror(store, "job", tmp_path).update()]
    assert names == [
        "generation-1-to-step-6",
        "generation-2-to-step-9",
        "run-2-generation-1-to-step-12",
        "run-2-generation-2",
    ]


def test_a_job_that_begins_at_the_first_row_hides_the_one_before(tmp_path: Path) -> None:
    store = open_store("memory:///")
    for fence, generation in ((1, 7), (20, 1)):
        train(store, generation, 0, steps=6, every=3, fence=fence)
    assert [run.name for run in Mirror(store, "job", tmp_path).update()] == ["run-2-generation-1"]


def test_names_of_other_objects_are_no_segments() -> None:
    segment = Segment(fence=7, generation=2, after=30, sequence=4, first=31, last=60)
    name = segment.name("digits")
    folder = "digits/events/000000000007-generation-000002-after-000000000030"
    assert name == f"{folder}/000004-000000000031-000000000060.tfevents"
    assert Segment.parse("digits", name) == segment
    assert Segment.parse("digits", "digits/events/notes.txt") is None
    assert Segment.parse("other", name) is None
    assert runs([]) == []


def test_only_a_jobs_name_names_a_folder_to_replace(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Mirror(open_store("memory:///"), "..", tmp_path)


class Broken:
    """A store that refuses to write until it is `mended`."""

    def __init__(self) -> None:
        self.inner = open_store("memory:///")
        self.mended = threading.Event()
        self.tried = threading.Semaphore(0)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def create_if_absent(self, name: str, data: bytes) -> bool:
        self.tried.release()
        if not self.mended.is_set():
            raise StoreError("the disk is full")
        return self.inner.create_if_absent(name, data)


def test_a_store_that_fails_for_a_while_costs_no_point(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Broken()
    recording = recorder(store)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "insitu"):
        for step in (1, 2):
            recording.add(step, {"loss": math.nan})
            recording.commit(step)
        assert store.tried.acquire(timeout=60)
        store.mended.set()
        recording.close()
    Mirror(store, "job", tmp_path).update()  # type: ignore[arg-type]
    assert [step for step, _ in drawn(tmp_path)["generation-1"]] == [1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "curves may get gaps, the training goes on: the disk is full"
    ]


def test_a_store_that_never_answers_holds_nobody_up() -> None:
    store = Broken()
    recording = recorder(store)  # type: ignore[arg-type]
    for step in range(1, 200):
        recording.add(step, {"loss": 0.0})
        recording.commit(step)
    recording.close()
    assert len(recording._closed) <= 64


def test_a_session_draws_what_it_reports_and_what_the_script_logs(tmp_path: Path) -> None:
    store = tmp_path / "store"
    database = MemoryDatabase(table(9, 15))
    job = a_job(checkpoint=Checkpoint(store.as_uri()))

    def log(session: Session, step: int) -> None:
        session.log({"accuracy": step / 10})

    train_ranks(database, assignments(database, 2, job), at_step=log)
    found = open_store(store.as_uri())
    run = "generation-1"
    accuracies = curves(found, tmp_path, "accuracy")[run]
    assert [step for step, _ in accuracies] == [0, 1, 2]
    assert [value for _, value in accuracies] == pytest.approx([0.1, 0.2, 0.3])
    assert [step for step, _ in curves(found, tmp_path, "rows")[run]] == [1, 2, 3]
    assert curves(found, tmp_path, "insitu/epoch")[run] == [(step, 0.0) for step in (1, 2, 3)]
    speeds = curves(found, tmp_path, "insitu/samples_per_second")[run]
    assert [step for step, _ in speeds] == [2, 3]
