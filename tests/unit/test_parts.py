from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from insitu.checkpoint import Part, Store, open_store, probe, read_part, write_part
from insitu.checkpoint.parts import place
from insitu.errors import ConfigurationError, StoreError
from tests.unit.builders import JOB, Interrupted


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    url = "memory:///" if request.param == "memory" else f"file://{tmp_path}/store"
    return open_store(url)


def write(store: Store, *buffers: bytes, rank: int = 0) -> Part:
    return write_part(store, JOB, fence=4, step=70, rank=rank, unique="0f-1a", buffers=buffers)


def test_a_part_is_the_concatenation_of_its_buffers(store: Store) -> None:
    part = write(store, b"head", b"", b"tensor" * 1000)
    assert (part.name, part.length) == ("digits/data/4/70/0f-1a-0", 6004)
    assert bytes(read_part(store, part)) == b"head" + b"tensor" * 1000


def test_a_part_larger_than_an_upload_chunk_arrives_whole(store: Store) -> None:
    buffers = [bytes([n]) * 5_000_000 for n in range(3)]
    part = write(store, *buffers)
    assert bytes(read_part(store, part)) == b"".join(buffers)


def test_an_empty_part_is_a_part(store: Store) -> None:
    assert bytes(read_part(store, write(store))) == b""


def test_a_part_says_where_it_was_made() -> None:
    assert place("digits", "digits/data/4/70/0f-1a-0") == (4, 70)
    assert place("team/digits", "team/digits/data/4/70/0f-1a-0") == (4, 70)


@pytest.mark.parametrize(
    "name",
    [
        "digits/data/notes.txt",
        "digits/data/4/70/notes.txt",
        "digits/data/x/data/4/70/0f-1a-0",
        "digits/data/4/data/4/70/0f-1a-0",
        "other/data/4/70/0f-1a-0",
    ],
)
def test_what_has_not_exactly_the_form_of_a_part_is_somebody_elses(name: str) -> None:
    assert place("digits", name) is None


def test_a_damaged_part_is_refused_with_its_name(store: Store) -> None:
    part = write(store, b"weights")
    store.put(part.name, [b"weighty"])
    with pytest.raises(StoreError, match=r"has lost data: digits/data/4/70/0f-1a-0 is damaged"):
        read_part(store, part)


def test_a_name_is_created_once(store: Store) -> None:
    assert store.create_if_absent("a/b", b"first")
    assert not store.create_if_absent("a/b", b"second")
    found = store.get("a/b")
    assert found is not None
    assert bytes(found) == b"first"


def test_a_folder_lists_its_objects_by_name_and_no_other_folder(store: Store) -> None:
    for name in ["a/2", "a/10/x", "a/1", "ab/3"]:
        store.put(name, [b"12"])
    assert [tuple(entry) for entry in store.list("a")] == [("a/1", 2), ("a/10/x", 2), ("a/2", 2)]
    assert [entry.name for entry in store.list("a", after="a/1")] == ["a/10/x", "a/2"]
    assert store.list("nothing") == []


def test_what_is_not_there_reads_as_none_and_deletes_in_peace(store: Store) -> None:
    store.put("a/1", [b""])
    store.delete(["a/1", "a/2"])
    assert store.get("a/1") is None


def test_a_store_that_can_commit_passes_the_probe_and_is_left_empty(store: Store) -> None:
    probe(store, JOB)
    assert store.list(JOB) == []


def test_a_store_without_conditional_writes_is_refused() -> None:
    class Overwriting(Interrupted):
        def create_if_absent(self, name: str, data: bytes) -> bool:
            self.inner.put(name, [data])
            return True

    with pytest.raises(StoreError, match="no working create-if-absent"):
        probe(Overwriting(open_store("memory:///")), JOB)


@pytest.mark.parametrize("url", ["/tmp/x", "ftp://host/x", "file://relative/x", "file://", "s3://"])
def test_a_url_that_is_no_store_is_refused_with_what_would_be_right(url: str) -> None:
    with pytest.raises(ConfigurationError, match="right would be file:///"):
        open_store(url)


def test_an_object_of_a_directory_is_on_disk_with_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def remember(descriptor: int) -> None:
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path))
        synced.append(name.partition("#")[0])
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", remember)
    open_store(f"file://{tmp_path}").create_if_absent("a/b/c", b"1")
    assert synced == ["a/b/c", "a/b", "a", "."]


@pytest.mark.parametrize("works", range(4))
def test_a_file_that_did_not_reach_the_disk_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: int
) -> None:
    store, fsync, synced = open_store(f"file://{tmp_path}"), os.fsync, 0

    def fail(_descriptor: int) -> None:
        nonlocal synced
        synced += 1
        if synced > works:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    for attempt in (
        lambda: store.create_if_absent("a/b/c", b"1"),
        lambda: store.put("a/b/d", [b"1"]),
    ):
        synced = 0
        with pytest.raises(StoreError, match="the disk fails"):
            attempt()
    assert store.get("a/b/c") is None
    monkeypatch.setattr(os, "fsync", fsync)
    assert store.create_if_absent("a/b/c", b"2")
    assert not list(tmp_path.rglob("*#*"))


def test_what_interrupted_writers_left_is_removed_from_abandoned_folders_only(
    tmp_path: Path,
) -> None:
    store = open_store(f"file://{tmp_path}")
    for folder in ["1", "2"]:
        store.put(f"data/{folder}/7/whole", [b"1"])
        (tmp_path / "data" / folder / "7" / "half#1").write_bytes(b"0")
    (tmp_path / "data/1/8").mkdir()
    store.remove_leftovers("data", lambda folder: folder == "1")
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("data/*/*/*")}
    assert left == {"data/1/7/whole", "data/2/7/whole", "data/2/7/half#1"}
    assert not (tmp_path / "data/1/8").exists()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 256 KiB of its own; only root on Linux can have one."""
    directory = tmp_path / "small"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a filesystem needs root on Linux")
    yield directory
    # Lazily: an aborted upload may hold its file open for a moment longer.
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.parametrize("size", [1 << 20, 20 << 20])
def test_a_full_disk_is_named(mounted: Path, size: int) -> None:
    store = open_store(f"file://{mounted}")
    with pytest.raises(StoreError, match=rf"file://{mounted} can't write .*the disk is full"):
        write(store, bytes(size))
    assert store.list(JOB) == []


def test_a_read_only_disk_is_named_at_the_start(mounted: Path) -> None:
    store = open_store(f"file://{mounted}")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with pytest.raises(StoreError, match=rf"file://{mounted} can't write .*mounted read-only"):
        probe(store, JOB)
    with pytest.raises(StoreError, match="mounted read-only"):
        open_store(f"file://{mounted}/new")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_of_somebody_else_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=r"may not\. Give it read and write access"):
        probe(open_store(f"file://{tmp_path}"), JOB)


def test_a_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="a part of its path is a file"):
        open_store(f"file://{tmp_path}/file/store")


def test_a_bucket_that_nobody_serves_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("insitu.checkpoint.store._RETRIES", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    with pytest.raises(StoreError, match=r"s3://bucket/jobs can't write") as caught:
        probe(open_store("s3://bucket/jobs"), JOB)
    assert "hidden" not in str(caught.value)
