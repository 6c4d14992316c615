from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.checkpoint import Commit, CommitLog, Fence, Store, open_store
from insitu.checkpoint.records import Unreadable, decode, encode
from insitu.data import Cursor
from insitu.errors import ConfigurationError, StaleGeneration, StoreError
from tests.unit.builders import JOB, NOON, Interrupted, commit, fenced, log_in_memory


def flip(store: Store, name: str, bit: int) -> None:
    data = store.get(name)
    assert data is not None
    changed = bytearray(data)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    store.put(name, [changed])


def test_an_empty_log_has_no_commit() -> None:
    log = log_in_memory()
    assert log.newest().commit is None
    assert log.generation() is None


def test_a_commit_is_found_again_as_it_was_made() -> None:
    log = log_in_memory()
    made = commit(fenced(log, 3), 10, b"weights", b"more weights")
    assert log.newest().commit == made
    assert (made.generation, made.world_size, made.cursor.step) == (3, 2, 10)


def test_the_newest_of_many_commits_is_taken() -> None:
    log = log_in_memory()
    writer = fenced(log, 1)
    made = [commit(writer, step, b"w") for step in range(5)]
    assert log.newest().commit == made[-1]
    assert log.commits() == made


def test_a_new_generation_shuts_out_the_old_one() -> None:
    log = log_in_memory()
    old = fenced(log, 1)
    kept = commit(old, 1, b"w")
    fenced(log, 2)
    with pytest.raises(StaleGeneration, match="generation 1 of digits is over: generation 2"):
        commit(old, 2, b"late")
    assert log.newest().commit == kept
    with pytest.raises(StaleGeneration):
        old.check_current()


@pytest.mark.parametrize("late", [1, 2])
def test_a_generation_that_comes_too_late_is_refused(late: int) -> None:
    log = log_in_memory()
    fenced(log, 2)
    with pytest.raises(StaleGeneration, match=f"generation {late} of digits comes too late"):
        fenced(log, late)


def test_a_stale_writer_stays_stale_without_asking_the_store() -> None:
    log = log_in_memory()
    old = fenced(log, 1)
    fenced(log, 2)
    for _ in range(3):
        with pytest.raises(StaleGeneration):
            commit(old, 1)
    assert log.commits() == []


def test_of_two_writers_racing_for_one_number_one_wins(tmp_path: Path) -> None:
    for attempt in range(20):
        log = CommitLog(open_store(f"file://{tmp_path}/{attempt}"), JOB)
        start = Barrier(2)

        def race(writer: str, log: CommitLog = log, start: Barrier = start) -> bool:
            start.wait()
            return log.append(Fence(0, 1, writer, NOON))

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(race, ["a", "b"])) == [False, True]


def test_a_fence_whose_answer_got_lost_is_its_own() -> None:
    log = log_in_memory()
    first = log.fence(1, writer="w", time=NOON)
    assert log.fence(1, writer="w", time=NOON).last == first.last


def test_a_commit_whose_answer_got_lost_is_not_made_twice() -> None:
    log = log_in_memory()
    writer = fenced(log, 1)
    lost = Commit(1, 1, writer.writer, NOON, Cursor(step=5), world_size=0)
    log.append(lost)
    assert commit(writer, 5) == lost
    assert log.commits() == [lost]


def test_a_later_commit_goes_behind_one_whose_answer_got_lost() -> None:
    log = log_in_memory()
    writer = fenced(log, 1)
    log.append(Commit(1, 1, writer.writer, NOON, Cursor(step=5), world_size=0))
    assert commit(writer, 6).seq == 2
    assert [c.cursor.step for c in log.commits()] == [5, 6]


def damaged_newest(damage: str) -> tuple[CommitLog, Commit, Commit]:
    """A log whose newer commit of two has lost something, as `damage` says."""
    log = log_in_memory()
    writer = fenced(log, 1)
    older, newer = commit(writer, 1, b"a" * 40, b"b" * 50), commit(writer, 2, b"c" * 40, b"d" * 50)
    kind, where = damage.split()
    name = f"{JOB}/commits/{newer.seq:012d}.json" if where == "commit" else newer.parts[1].name
    data = log.store.get(name)
    assert data is not None
    match kind:
        case "missing":
            log.store.delete([name])
        case "empty":
            log.store.put(name, [b""])
        case "truncated":
            log.store.put(name, [data[:-1]])
        case "flipped":
            flip(log.store, name, 101)
    return log, older, newer


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("empty commit", "it is empty"),
        ("truncated commit", "no complete commit record"),
        ("flipped commit", ""),
        ("missing part", "is missing"),
        ("empty part", "has 0 bytes instead of 50"),
        ("truncated part", "has 49 bytes instead of 50"),
        ("flipped part", "its checksum is"),
    ],
)
def test_a_damaged_newest_commit_falls_back_to_the_one_before_and_says_so(
    damage: str, said: str
) -> None:
    log, older, newer = damaged_newest(damage)
    newest = log.newest()
    assert newest.commit == older
    assert [skipped.seq for skipped in newest.skipped] == [newer.seq]
    assert said in newest.skipped[0].reason


def test_a_lost_commit_record_is_as_if_it_had_not_been_made() -> None:
    log, older, _ = damaged_newest("missing commit")
    assert log.newest().commit == older


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_flipped_bit_of_any_object_goes_unnoticed(choice: int, bit: int) -> None:
    log = log_in_memory()
    writer = fenced(log, 1)
    older, newer = commit(writer, 1, b"a" * 40), commit(writer, 2, b"b" * 40, b"c" * 9)
    names = [f"{JOB}/commits/{newer.seq:012d}.json", *(part.name for part in newer.parts)]
    flip(log.store, names[choice % len(names)], bit)
    assert log.newest().commit == older


def test_damage_everywhere_is_told_and_never_loaded() -> None:
    log, older, newer = damaged_newest("flipped part")
    log.store.delete([older.parts[0].name])
    newest = log.newest()
    assert newest.commit is None
    assert [skipped.seq for skipped in newest.skipped] == [newer.seq, older.seq]


def test_a_generation_goes_on_behind_a_damaged_record() -> None:
    log, older, newer = damaged_newest("empty commit")
    writer = fenced(log, 2)
    assert commit(writer, 2, b"again", parent=older.seq).seq == newer.seq + 2
    assert log.newest().commit is not None


def test_a_commit_can_be_named_to_resume_from() -> None:
    log = log_in_memory()
    writer = fenced(log, 1)
    first, _ = commit(writer, 1, b"a"), commit(writer, 2, b"b")
    assert log.at(first.seq) == first


@pytest.mark.parametrize(
    ("seq", "said"), [(9, "it is missing"), (0, "the start of a generation"), (2, "checksum")]
)
def test_a_commit_that_cannot_be_resumed_from_names_those_that_can(seq: int, said: str) -> None:
    log, older, _ = damaged_newest("flipped part")
    with pytest.raises(ConfigurationError, match=rf"commit {seq} .*{said}.*There are: {older.seq}"):
        log.at(seq)


def test_metadata_that_is_no_json_is_refused_before_anything_is_written() -> None:
    log = log_in_memory()
    writer = fenced(log, 1)
    with pytest.raises(ConfigurationError, match="metadata of a commit has to be JSON"):
        writer.commit(Cursor(), [], world_size=1, time=NOON, meta={"loss": float("nan")})
    assert log.commits() == []


def test_a_record_of_another_format_is_not_guessed_at() -> None:
    data = encode(Fence(0, 1, "w", NOON)).replace(b'"format":1', b'"format":2')
    assert isinstance(decode(0, data), Unreadable)


def test_a_job_name_that_is_no_folder_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'\.\./other' can't name a job"):
        CommitLog(open_store("memory:///"), "../other")


class Actor:
    """A trainer that fences and commits for ever, whatever became of its generation."""

    def __init__(self, log: CommitLog, generation: int) -> None:
        self.log, self.generation = log, generation
        self.state = "starting"
        self.writer = str(generation)

    def act(self) -> None:
        try:
            if self.state == "starting":
                self.fenced = self.log.fence(self.generation, writer=self.writer, time=NOON)
                self.state = "running"
            elif self.state == "running":
                commit(self.fenced, self.fenced.last)
        except StaleGeneration:
            self.state = "stale"


def interleaved(seed: int) -> tuple[CommitLog, list[Actor]]:
    """Four generations act in random order, also in the middle of each other's operations."""
    choose = random.Random(seed)
    store = Interrupted(open_store("memory:///"))
    log = CommitLog(store, JOB)
    actors = [Actor(log, generation) for generation in range(4)]
    busy: list[Actor] = []

    def interrupt() -> None:
        idle = [actor for actor in actors if actor not in busy]
        if idle and choose.random() < 0.3:
            act(choose.choice(idle))

    def act(actor: Actor) -> None:
        busy.append(actor)
        actor.act()
        busy.remove(actor)

    store.between = interrupt
    for _ in range(12):
        act(choose.choice(actors))
    store.between = lambda: None
    return log, actors


def test_no_interleaving_makes_a_stale_commit_visible() -> None:
    stale = 0
    for seed in range(2000):
        log, actors = interleaved(seed)
        numbers = log.sequence()
        assert numbers == list(range(len(numbers)))
        highest = -1
        for record in map(log.record, numbers):
            assert not isinstance(record, Unreadable)
            assert record.generation >= highest, f"seed {seed}: stale record {record.seq}"
            highest = max(highest, record.generation)
        stale += sum(actor.state == "stale" for actor in actors)
    assert stale > 1000


def test_a_log_that_somebody_else_keeps_filling_is_an_error_and_no_endless_loop() -> None:
    store = Interrupted(open_store("memory:///"))
    log, rival = CommitLog(store, JOB), CommitLog(store.inner, JOB)

    def fill() -> None:
        rival.append(Fence(len(rival.sequence()), 0, "rival", NOON))

    store.between = fill
    with pytest.raises(StoreError, match="refused 100 times"):
        fenced(log, 1)
