"""A bucket of a real S3 server keeps the same promises as a directory, in races too."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, Timer
from urllib.parse import urlsplit

import pytest

from insitu.checkpoint import CommitLog, Fence, Store, open_store, sweep
from insitu.checkpoint.records import encode
from insitu.errors import AuthenticationError, OtherJob, StaleGeneration, StoreError
from testbed import s3
from tests.unit.builders import JOB, NOON, commit, fenced

# The contract of every store: pytest runs these here with the `store` of this file.
from tests.unit.test_parts import (  # noqa: F401
    test_a_damaged_part_is_refused_with_its_name,
    test_a_folder_lists_its_objects_by_name_and_no_other_folder,
    test_a_name_is_created_once,
    test_a_part_is_the_concatenation_of_its_buffers,
    test_a_part_larger_than_an_upload_chunk_arrives_whole,
    test_a_store_that_can_commit_passes_the_probe_and_is_left_empty,
    test_an_empty_part_is_a_part,
    test_what_is_not_there_reads_as_none_and_deletes_in_peace,
)

# The first time, the server is built.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server() -> Iterator[s3.Server]:
    if shutil.which("go") is None and not s3.is_built():
        pytest.skip("the S3 server is built with Go, which is not installed")
    with s3.start() as server:
        server.create_bucket("checkpoints")
        yield server


@pytest.fixture
def store(server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://checkpoints/{secrets.token_hex(4)}")


def test_of_many_writers_racing_for_one_name_one_wins_and_its_bytes_are_there(store: Store) -> None:
    for attempt in range(30):
        start = Barrier(8)

        def race(writer: int, start: Barrier = start, name: str = f"name/{attempt}") -> bool:
            start.wait()
            return store.create_if_absent(name, bytes([writer]) * 5000)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(race, range(8)))
        assert won.count(True) == 1
        found = store.get(f"name/{attempt}")
        assert found is not None
        assert bytes(found) == bytes([won.index(True)]) * 5000


def test_of_two_generations_racing_for_one_log_only_the_newer_commits(store: Store) -> None:
    log = CommitLog(store, JOB)
    old = fenced(log, 1)
    kept = commit(old, 1, b"w")
    newer = fenced(log, 2)
    with pytest.raises(StaleGeneration, match="generation 1 of digits is over: generation 2"):
        commit(old, 2, b"late")
    made = commit(newer, 2, b"on time")
    assert [entry.seq for entry in log.commits()] == [kept.seq, made.seq]


def test_a_job_made_again_begins_beside_the_older_ones_commits(store: Store) -> None:
    log = CommitLog(store, JOB)
    old, new = fenced(log, 7, run="a"), fenced(log, 1, run="b")
    assert log.newest(run="b").commit is None
    made = commit(new, 1, b"b")
    with pytest.raises(OtherJob, match="uid b"):
        commit(old, 1, b"a")
    assert log.newest().commit == made
    sweep(new, 1)
    assert list(log.sizes()) == [part.name for part in made.parts]


def test_a_writer_whose_number_another_one_got_is_stale(store: Store) -> None:
    log = CommitLog(store, JOB)
    old = fenced(log, 1)
    kept, lost = commit(old, 1, b"a"), commit(old, 2, b"b")
    store.delete([f"{JOB}/commits/{lost.seq:012d}.json"])
    fenced(log, 2)
    with pytest.raises(StaleGeneration, match="generation 2"):
        commit(old, 3, b"stale")
    assert log.newest().commit == kept


def test_a_lost_part_is_an_error_at_the_next_commit(store: Store) -> None:
    writer = fenced(CommitLog(store, JOB), 1)
    store.delete([part.name for part in commit(writer, 1, b"a", b"b").parts[1:]])
    with pytest.raises(StoreError, match="lost data that it had confirmed"):
        commit(writer, 2, b"c")


def test_the_end_of_a_log_of_several_listings_is_found(server: s3.Server, store: Store) -> None:
    log = CommitLog(store, JOB)
    made = commit(fenced(log, 1), 1, b"a")
    folder = server.buckets / urlsplit(store.url).netloc / urlsplit(store.url).path[1:]
    for seq in range(made.seq + 1, 3100):
        path = folder / JOB / f"commits/{seq:012d}.json"
        path.write_bytes(encode(replace(made, seq=seq)))
    assert log.history().last == 3099
    assert fenced(log, 2).fence.seq == 3100


def test_a_log_takes_each_number_once(store: Store) -> None:
    log = CommitLog(store, JOB)
    start = Barrier(4)

    def race(writer: str) -> bool:
        start.wait()
        return log.append(Fence(0, 1, writer, NOON))

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(race, "abcd")) == [False, False, False, True]


def test_a_server_that_comes_back_soon_was_never_away(server: s3.Server, store: Store) -> None:
    server.kill()
    back = Timer(1.0, server.start)
    back.start()
    try:
        store.put("name", [b"kept"])
    finally:
        back.join()
    found = store.get("name")
    assert found is not None
    assert bytes(found) == b"kept"


def test_wrong_keys_are_said_to_be_wrong(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not this one")
    with pytest.raises(AuthenticationError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_store("s3://checkpoints/team").put("name", [b"data"])


def test_a_bucket_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match=r"s3://nothing-here/team .*Create the bucket"):
        open_store("s3://nothing-here/team").put("name", [b"data"])
