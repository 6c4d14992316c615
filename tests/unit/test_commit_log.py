from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.checkpoint import Commit, CommitLog, Fence, Store, Writer, open_store, sweep
from insitu.checkpoint.records import Json, Unreadable, _canonical, _digest, decode, encode
from insitu.checkpoint.store import Buffer
from insitu.data import Cursor
from insitu.data.identity import Origin
from insitu.errors import (
    ConfigurationError,
    OtherJob,
    StaleGeneration,
    StoreError,
    UnknownFormat,
)
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


def of_newer_format(log: CommitLog, *numbers: int) -> None:
    """Makes those records look as a newer release would have written them."""
    for seq in numbers:
        for kind in ("commits", "fences"):
            name = f"{JOB}/{kind}/{seq:012d}.json"
            if data := log.store.get(name):
                body = json.loads(bytes(data))["record"] | {"format": 3}
                log.store.put(name, [_canonical({"blake2b": _digest(body), "record": body})])


def test_an_older_release_leaves_a_newer_ones_log_alone() -> None:
    log = log_in_memory()
    commit(old := fenced(log, 6), 1, b"old")
    newer = commit(fenced(log, 7), 2, b"newer")
    of_newer_format(log, newer.seq - 1, newer.seq)
    before = log.store.list(JOB)
    for attempt in (
        lambda: fenced(log, 8),
        log.newest,
        log.kept,
        lambda: log.at(newer.seq),
        lambda: commit(old, 3),
        lambda: sweep(old, 1),
    ):
        with pytest.raises(UnknownFormat, match="format 3, written by a newer release"):
            attempt()
    assert log.store.list(JOB) == before


def test_what_was_written_before_the_first_release_is_an_unknown_format_too() -> None:
    body: dict[str, Json] = {"format": 1, "seq": 0}
    with pytest.raises(UnknownFormat, match="format 1, written by another release"):
        decode(0, _canonical({"blake2b": _digest(body), "record": body}))


def test_a_format_that_is_a_flipped_bit_is_damage() -> None:
    data = encode(Fence(0, 1, "w", NOON)).replace(b'"format":2', b'"format":3')
    assert isinstance(decode(0, data), Unreadable)


def test_a_job_name_that_is_no_folder_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'\.\./other' can't name a job"):
        CommitLog(open_store("memory:///"), "../other")


class TestRuns:
    """A job that is made again under its name is another run."""

    def test_its_first_generation_is_not_stale(self) -> None:
        log = log_in_memory()
        commit(fenced(log, 7, run="a"), 1, b"a")
        writer = fenced(log, 1, run="b")
        made = commit(writer, 1, b"b")
        assert log.newest().commit == made
        assert log.generation() == 1

    def test_it_does_not_see_what_the_one_before_committed(self) -> None:
        log = log_in_memory()
        made = commit(fenced(log, 7, run="a"), 1, b"a")
        fenced(log, 1, run="b")
        assert log.newest(run="b").commit is None
        assert log.newest().commit == log.at(made.seq) == made

    @pytest.mark.parametrize("generation", [1, 7, 8, 99])
    def test_the_one_before_is_told_whose_the_place_is_now(self, generation: int) -> None:
        log = log_in_memory()
        old = fenced(log, 7, run="a")
        fenced(log, 1, run="b")
        with pytest.raises(OtherJob, match=r"another job \(uid b, in its generation 1\)"):
            commit(old, 2)
        with pytest.raises(OtherJob, match="another job"):
            fenced(log, generation, run="a")

    def test_its_first_sweep_takes_what_it_has_replaced(self) -> None:
        log = log_in_memory()
        old = fenced(log, 7, run="a")
        for step in range(3):
            commit(old, step, b"a")
        new = fenced(log, 1, run="b")
        for step in range(2):
            commit(new, step, b"b")
            sweep(new, 2)
        assert [made.origin.run for made in log.kept()] == ["b", "b"]
        assert len(log.sizes()) == 2


class TestLoss:
    """What a store had confirmed is gone, or can't be read."""

    def lose(self, log: CommitLog, kind: str, seq: int) -> None:
        log.store.delete([f"{JOB}/{kind}/{seq:012d}.json"])

    def test_a_writer_whose_newest_record_is_lost_commits_nothing_more(self) -> None:
        log = log_in_memory()
        writer = fenced(log, 1)
        made = commit(writer, 1, b"a")
        self.lose(log, "commits", made.seq)
        with pytest.raises(StoreError, match=f"confirmed record {made.seq} .*and has lost it"):
            commit(writer, 2, b"b")

    def test_a_writer_whose_number_another_one_got_is_stale(self) -> None:
        log = log_in_memory()
        old = fenced(log, 1)
        kept, lost = commit(old, 1, b"a"), commit(old, 2, b"b")
        self.lose(log, "commits", lost.seq)
        new = fenced(log, 2)
        with pytest.raises(StaleGeneration, match="generation 2 has taken over"):
            commit(old, 3, b"stale")
        assert log.newest().commit == kept
        assert commit(new, 3, b"c") == log.newest().commit

    def test_a_commit_that_slips_in_above_a_newer_fence_is_void(self) -> None:
        store = Interrupted(open_store("memory:///"))
        log, quiet = CommitLog(store, JOB), CommitLog(store.inner, JOB)
        old = fenced(log, 1)
        kept, lost = commit(old, 1, b"a"), commit(old, 2, b"b")
        new: list[Writer] = []

        def lose_it_and_fence() -> None:
            """After the writer's look and before its append, which is the moment that is left."""
            if len(store.asked) == 1 and not new:
                self.lose(quiet, "commits", lost.seq)
                new.append(fenced(quiet, 2))

        store.asked.clear()
        store.between = lose_it_and_fence
        with pytest.raises(StaleGeneration):
            old.commit(Cursor(step=3), [], world_size=1, time=NOON)
        assert quiet.newest().commit == kept
        assert commit(new[0], 3, b"c") == quiet.newest().commit

    @pytest.mark.parametrize("gone", ["commits", "fences"])
    def test_a_fence_counts_as_long_as_one_of_its_two_objects_is_there(self, gone: str) -> None:
        log = log_in_memory()
        commit(old := fenced(log, 1), 1, b"a")
        self.lose(log, gone, fenced(log, 3).fence.seq)
        with pytest.raises(StaleGeneration, match="generation 3"):
            fenced(log, 2)
        with pytest.raises(StaleGeneration):
            commit(old, 2)
        assert commit(fenced(log, 4), 2, b"b") == log.newest().commit

    def test_a_damaged_fence_lets_no_older_generation_in(self) -> None:
        log = log_in_memory()
        commit(fenced(log, 5), 1, b"a")
        newest = fenced(log, 7)
        flip(log.store, f"{JOB}/commits/{newest.fence.seq:012d}.json", 481)
        with pytest.raises(StaleGeneration, match="generation 7"):
            fenced(log, 6)
        flip(log.store, f"{JOB}/fences/{newest.fence.seq:012d}.json", 481)
        with pytest.raises(StoreError, match="both its copies can't be read"):
            fenced(log, 8)

    def test_a_part_that_the_store_took_and_has_not_is_an_error_at_once(self) -> None:
        log = log_in_memory(store := Forgetful(open_store("memory:///")))
        writer = fenced(log, 1)
        commit(writer, 1, b"a")
        store.forgets = True
        with pytest.raises(StoreError, match="lost data that it had confirmed"):
            commit(writer, 2, b"b")
        assert [made.cursor.step for made in log.commits()] == [1]

    def test_a_newest_commit_that_is_broken_is_an_error_at_the_next_one(self) -> None:
        log = log_in_memory()
        writer = fenced(log, 1)
        made = commit(writer, 1, b"abc")
        log.store.put(made.parts[0].name, [b"ab"])
        with pytest.raises(StoreError, match="has 2 bytes instead of 3"):
            commit(writer, 2, b"b")


class Forgetful(Interrupted):
    """Takes parts and keeps none, while it `forgets`."""

    forgets = False

    def put(self, name: str, buffers: Sequence[Buffer]) -> None:
        if not (self.forgets and "/data/" in name):
            self.inner.put(name, buffers)


class TestCost:
    """Requests a commit and its sweep make, by how many commits there are already."""

    def spent(self, before: int, keep_last: int) -> list[str]:
        store = Interrupted(open_store("memory:///"))
        log = CommitLog(store, JOB)
        writer = fenced(log, 1)
        for step in range(before):
            commit(writer, step, b"a")
            sweep(writer, 2)
        writer = fenced(log, 2)
        for step in range(before, before + keep_last + 1):
            commit(writer, step, b"a")
            sweep(writer, keep_last)
        store.asked.clear()
        commit(writer, before + keep_last + 1, b"b")
        sweep(writer, keep_last)
        return store.asked

    @pytest.mark.parametrize("keep_last", [1, 2, 7])
    def test_it_does_not_grow_with_the_log(self, keep_last: int) -> None:
        kinds = [one.split()[0] for one in self.spent(3, keep_last)]
        assert kinds == [one.split()[0] for one in self.spent(60, keep_last)]

    def test_a_long_log_is_opened_with_few_reads(self) -> None:
        store = Interrupted(open_store("memory:///"))
        log = CommitLog(store, JOB)
        writer = fenced(log, 1)
        made = commit(writer, 0, b"a")
        for seq in range(made.seq + 1, 5000):
            log.append(replace(made, seq=seq))
        store.asked.clear()
        assert fenced(log, 2).fence.seq == 5000
        assert len(store.asked) < 25

    @given(st.integers(0, 4100), st.sets(st.integers(0, 4100), max_size=20))
    @settings(max_examples=30)
    def test_the_end_is_found_whatever_is_lost_below(self, records: int, lost: set[int]) -> None:
        log = log_in_memory()
        for seq in range(records):
            log.append(Fence(seq, 1, "w", NOON))
        gone = {seq for seq in lost if seq < records - 1}
        log.store.delete([f"{JOB}/commits/{seq:012d}.json" for seq in gone])
        assert log.history().last == records - 1


class Actor:
    """A trainer that fences and commits for ever, whatever became of its generation."""

    def __init__(self, log: CommitLog, run: str, generation: int) -> None:
        self.log, self.run, self.generation = log, run, generation
        self.state = "starting"
        self.acknowledged: list[int] = []
        self.found: set[int] = set()

    def act(self) -> None:
        try:
            if self.state == "starting":
                writer, origin = f"{self.run}{self.generation}", Origin(self.run)
                self.fenced = self.log.fence(
                    self.generation, writer=writer, time=NOON, origin=origin
                )
                self.found = {record.seq for record in self.log.commits()}
                self.state = "running"
            elif self.state == "running":
                self.acknowledged.append(commit(self.fenced, self.fenced.last).seq)
        except (StaleGeneration, OtherJob) as error:
            self.state = type(error).__name__
        except StoreError:
            self.state = "lost"


class Interleaving:
    """Generations of two runs act in random order, also in the middle of each other's operations.

    With `losses` the store forgets records that it had confirmed, but never both objects of a
    fence.
    """

    def __init__(self, seed: int, *, losses: bool) -> None:
        self.choose = random.Random(seed)
        self.losses = losses
        self.store = Interrupted(open_store("memory:///"))
        self.log = CommitLog(self.store, JOB)
        self.actors = [Actor(self.log, run, g) for run in "ab" for g in range(1, 4)]
        self.busy: list[Actor] = []
        self.lost: set[int] = set()
        self.store.between = self.interrupt
        for _ in range(16):
            self.act(self.choose.choice(self.actors))
        self.store.between = lambda: None

    def interrupt(self) -> None:
        idle = [actor for actor in self.actors if actor not in self.busy]
        if idle and self.choose.random() < 0.2:
            self.act(self.choose.choice(idle))
        if self.losses and self.choose.random() < 0.03:
            self.lose()

    def act(self, actor: Actor) -> None:
        self.busy.append(actor)
        actor.act()
        self.busy.remove(actor)

    def lose(self) -> None:
        inner = self.store.inner
        names = [entry.name for entry in inner.list(f"{JOB}/commits")][-3:]
        if not names:
            return
        name = self.choose.choice(names)
        seq = int(name[-17:-5])
        data = inner.get(name)
        assert data is not None
        if isinstance(decode(seq, data), Fence):
            copy = name.replace("commits", "fences")
            if inner.get(copy) is None or seq in self.lost:
                return
            name = self.choose.choice([name, copy])
        self.lost.add(seq)
        inner.delete([name])


def check_order(played: Interleaving, seed: int) -> None:
    """Nobody's commit became visible behind the back of a writer that had begun after it."""
    visible = {made.seq: made for made in played.log.commits()}
    begun = {actor.fenced.fence.seq: actor for actor in played.actors if hasattr(actor, "fenced")}
    for fence, actor in begun.items():
        late = {seq for seq in visible if seq < fence} - actor.found
        assert not late, f"seed {seed}: {late} below fence {fence}"
        until = min((other for other in begun if other > fence), default=10**12)
        above = {made.writer for seq, made in visible.items() if fence < seq < until}
        assert above <= {actor.fenced.writer}, f"seed {seed}"
    for actor in played.actors:
        missing = set(actor.acknowledged) - visible.keys() - played.lost
        assert not missing, f"seed {seed}: {missing} of {actor.run}{actor.generation}"


def test_no_interleaving_makes_a_stale_commit_visible() -> None:
    ends: Counter[str] = Counter()
    for seed in range(1500):
        played = Interleaving(seed, losses=False)
        check_order(played, seed)
        numbers = played.log.sequence()
        assert numbers == list(range(len(numbers)))
        writers, runs, newest = [], [], {"a": 0, "b": 0}
        for record in map(played.log.record, numbers):
            assert not isinstance(record, Unreadable)
            run = record.origin.run
            assert record.generation >= newest[run], f"seed {seed}: stale record {record.seq}"
            newest[run] = record.generation
            writers.append(record.writer)
            runs.append(run)
        assert len(list(groupby(writers))) == len(set(writers)), f"seed {seed}: {writers}"
        assert len(list(groupby(runs))) == len(set(runs)), f"seed {seed}: {runs}"
        ends.update(actor.state for actor in played.actors)
    assert ends["StaleGeneration"] > 500
    assert ends["OtherJob"] > 500
    assert ends["lost"] == 0


def test_no_stale_commit_becomes_visible_though_confirmed_records_are_lost() -> None:
    ends: Counter[str] = Counter()
    lost = 0
    for seed in range(1500):
        played = Interleaving(seed, losses=True)
        check_order(played, seed)
        ends.update(actor.state for actor in played.actors)
        lost += len(played.lost)
    assert lost > 500
    assert ends["lost"] > 100


def test_a_log_that_somebody_else_keeps_filling_is_an_error_and_no_endless_loop() -> None:
    store = Interrupted(open_store("memory:///"))
    log, rival = CommitLog(store, JOB), CommitLog(store.inner, JOB)

    def fill() -> None:
        rival.append(Fence(len(rival.sequence()), 0, "rival", NOON))

    store.between = fill
    with pytest.raises(StoreError, match="refused 100 times"):
        fenced(log, 1)
