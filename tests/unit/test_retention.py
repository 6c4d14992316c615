from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.checkpoint import CommitLog, open_store, sweep
from insitu.checkpoint.parts import data_folder
from insitu.checkpoint.retention import expendable
from insitu.errors import ConfigurationError, StaleGeneration
from tests.unit.builders import JOB, commit, fenced, log_in_memory


def steps_that_can_be_resumed(log: CommitLog) -> list[int]:
    return [made.cursor.step for made in log.kept()]


@given(st.integers(1, 5), st.integers(1, 8))
def test_the_newest_commits_are_kept_and_no_others(keep_last: int, made: int) -> None:
    log = log_in_memory()
    writer = fenced(log, 1)
    for step in range(made):
        commit(writer, step, b"a", b"b")
        sweep(writer, keep_last)
    assert steps_that_can_be_resumed(log) == list(range(made))[-keep_last:]
    assert len(log.sizes()) == 2 * min(keep_last, made)


def test_names_of_the_log_are_never_deleted() -> None:
    log = log_in_memory()
    writer = fenced(log, 1)
    for step in range(5):
        commit(writer, step, b"a")
    sweep(writer, 1)
    assert log.sequence() == list(range(6))
    assert len(log.commits()) == 5


def test_a_damaged_commit_takes_nobodys_place() -> None:
    log = log_in_memory()
    writer = fenced(log, 1)
    commits = [commit(writer, step, b"abc") for step in range(4)]
    log.store.put(commits[-1].parts[0].name, [b"ab"])
    sweep(writer, 2)
    assert steps_that_can_be_resumed(log) == [1, 2]


def test_what_older_generations_left_goes_with_the_first_sweep() -> None:
    log = log_in_memory()
    old = fenced(log, 1)
    commit(old, 1, b"kept")
    log.store.put(f"{data_folder(JOB, old.fence.seq)}/2/never-committed-0", [b"lost"])
    commit(new := fenced(log, 2), 2, b"new")
    assert sweep(new, 2) == [f"{data_folder(JOB, old.fence.seq)}/2/never-committed-0"]


def test_an_upload_under_way_is_left_alone() -> None:
    log = log_in_memory()
    commit(writer := fenced(log, 1), 5, b"a")
    log.store.put(f"{data_folder(JOB, writer.fence.seq)}/6/under-way-0", [b"b"])
    assert sweep(writer, 1) == []


def test_foreign_objects_and_newer_generations_are_left_alone() -> None:
    names = ["digits/data/readme.txt", "digits/data/9/1/x-0", "other/thing"]
    assert expendable("digits", [], names, fence=2) == []


@pytest.mark.parametrize("other", ["data/x", "data/0", "data/0/1", "commits"])
def test_a_job_in_the_folders_of_another_keeps_its_parts(tmp_path: Path, other: str) -> None:
    store = open_store(f"file://{tmp_path}")
    inner = CommitLog(store, f"{JOB}/{other}")
    made = commit(fenced(inner, 1), 1, b"inner")
    half = tmp_path / inner.job / "data" / "0" / "1" / "half-0#1"
    half.write_bytes(b"0")
    for generation in (3, 4):
        writer = fenced(CommitLog(store, JOB), generation)
        for step in range(3):
            commit(writer, step, b"outer")
            sweep(writer, 1)
    assert inner.newest().commit == made
    assert half.exists()


def test_a_stale_writer_deletes_nothing() -> None:
    log = log_in_memory()
    old = fenced(log, 1)
    for step in range(3):
        commit(old, step, b"a")
    fenced(log, 2)
    with pytest.raises(StaleGeneration):
        sweep(old, 1)
    assert len(log.sizes()) == 3


def test_nothing_is_deleted_while_no_commit_is_whole() -> None:
    log = log_in_memory()
    writer = fenced(log, 1)
    made = commit(writer, 1, b"abc")
    log.store.put(made.parts[0].name, [b"ab"])
    assert sweep(writer, 1) == []
    assert log.kept() == []


def test_keeping_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="keep at least 1 commit, not 0"):
        sweep(fenced(log_in_memory(), 1), 0)


def test_a_directory_is_clean_after_a_generation_that_died_in_an_upload(tmp_path: Path) -> None:
    log = log_in_memory(open_store(f"file://{tmp_path}"))
    commit(fenced(log, 1), 1, b"a")
    half = tmp_path / JOB / "data/0/2/half-0#1"
    half.parent.mkdir()
    half.write_bytes(b"0")
    writer = fenced(log, 2)
    commit(writer, 2, b"b")
    sweep(writer, 1)
    assert [path.name for path in (tmp_path / JOB / "data").iterdir()] == ["2"]
