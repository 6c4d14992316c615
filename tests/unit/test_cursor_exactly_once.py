"""Whole jobs in memory: ranks, steps, commits, kills, resizes and trainers given up for dead."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from uuid import uuid4

from insitu.checkpoint import Commit, CommitLog, Part, open_store, read_part, write_part
from insitu.checkpoint.records import Unreadable
from insitu.data import Cursor, Order, Taken, quotas
from insitu.errors import StaleGeneration
from insitu.topology import ShardId
from tests.unit.builders import JOB, NOON, Interrupted, ids, rank_stream, shards_of

EPOCHS = 2


class World:
    """One generation: `world_size` ranks over `table`, from the newest commit on.

    Each commit has one part: `[epoch, id]` of every row trained on since its parent.
    """

    def __init__(
        self,
        log: CommitLog,
        table: dict[ShardId, list[int]],
        generation: int,
        choose: random.Random,
    ) -> None:
        self.log, self.table, self.choose = log, table, choose
        self.generation = generation
        self.world_size = choose.randint(1, 5)
        self.writer = log.fence(generation, writer=str(uuid4()), time=NOON)
        newest = log.newest()
        assert newest.skipped == ()
        self.commit: Commit | None = newest.commit
        order = Order(seed=3, block_rows=choose.choice([4, 8]))
        self.cursor = Cursor(order=order) if self.commit is None else self.commit.cursor
        self.since: list[tuple[int, int]] = []
        self.open_epoch()

    def open_epoch(self) -> None:
        owner = {shard: self.choose.randrange(self.world_size) for shard in self.table}
        self.streams = [
            rank_stream(
                self.table,
                self.cursor,
                mine=[shard for shard in self.table if owner[shard] == rank],
                page_rows=self.choose.randint(1, 9),
                marked=self.choose.random() < 0.5,
                estimate=self.choose.choice([None, 0, 5]),
            )
            for rank in range(self.world_size)
        ]

    @property
    def done(self) -> bool:
        return self.commit is not None and self.commit.cursor.epoch == EPOCHS

    def step(self, batch: int) -> None:
        """One step of all ranks; at the end of an epoch the next one begins with a commit."""
        asked = quotas([stream.remaining for stream in self.streams], batch)
        taken: list[Taken] = []
        for stream, rows in zip(self.streams, asked, strict=True):
            drawn, used = stream.take(rows)
            taken.extend(used)
            self.since.extend((self.cursor.epoch, row) for row in ids(drawn))
        self.cursor = self.cursor.after(taken)
        if all(stream.dry for stream in self.streams):
            assert self.cursor.finished == set(self.table)
            self.cursor = self.cursor.next_epoch()
            self.save()
            self.open_epoch()

    def save(self) -> None:
        part = self.upload()
        parent = None if self.commit is None else self.commit.seq
        self.commit = self.writer.commit(
            self.cursor, [part], world_size=self.world_size, time=NOON, parent=parent
        )
        self.since = []

    def upload(self) -> Part:
        return write_part(
            self.log.store,
            JOB,
            generation=self.generation,
            step=self.cursor.step,
            rank=0,
            unique=str(uuid4()),
            buffers=[json.dumps(self.since).encode()],
        )

    def die(self) -> None:
        """Killed between two steps, in one, or between the upload and the commit."""
        self.streams[0].take(self.choose.choice([0, 3]))
        if self.choose.random() < 0.3:
            self.upload()


def act(world: World) -> None:
    """A few steps, and perhaps a commit."""
    if not world.done:
        world.step(world.choose.randint(1, 20))
    if not world.done and world.choose.random() < 0.4:
        world.save()


def run_job(seed: int) -> tuple[CommitLog, dict[ShardId, list[int]], int]:
    """A job to its last epoch; returns its log, its table and how many zombies were refused."""
    choose = random.Random(seed)
    sizes: Sequence[int] = [choose.choice([0, 1, 2, 5, 17]) for _ in range(choose.randint(1, 9))]
    table = shards_of(*sizes)
    store = Interrupted(open_store("memory:///"))
    log = CommitLog(store, JOB)
    generation, refused = 1, 0
    world = World(log, table, generation, choose)
    zombies: list[World] = []

    def zombie_acts() -> None:
        nonlocal refused
        if not zombies or choose.random() > 0.1:
            return
        zombie = zombies.pop()
        try:
            act(zombie)
            zombies.append(zombie)
        except StaleGeneration:
            refused += 1

    store.between = zombie_acts
    while not world.done:
        if choose.random() < 0.15:
            if choose.random() < 0.7:
                zombies.append(world)
            else:
                world.die()
            generation += 1
            world = World(log, table, generation, choose)
        act(world)
    store.between = lambda: None
    return log, table, refused


def committed_rows(log: CommitLog) -> Counter[tuple[int, int]]:
    """How often each `(epoch, id)` is in the parameters of the newest commit."""
    rows: Counter[tuple[int, int]] = Counter()
    newest = log.newest().commit
    while newest is not None:
        for part in newest.parts:
            rows.update(
                (epoch, row) for epoch, row in json.loads(bytes(read_part(log.store, part)))
            )
        newest = None if newest.parent is None else log.at(newest.parent)
    return rows


def test_each_row_is_in_the_parameters_exactly_once_per_epoch_whatever_happens() -> None:
    refused = 0
    for seed in range(1000):
        log, table, refusals = run_job(seed)
        once = {(epoch, row) for epoch in range(EPOCHS) for rows in table.values() for row in rows}
        assert committed_rows(log) == Counter(once), f"seed {seed}"
        records = [log.record(seq) for seq in log.sequence()]
        generations = [r.generation for r in records if not isinstance(r, Unreadable)]
        assert generations == sorted(generations), f"seed {seed}: a stale record"
        refused += refusals
    assert refused > 200
