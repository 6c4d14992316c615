"""Whole jobs in memory: ranks, steps, commits, kills, resizes and trainers given up for dead."""

from __future__ import annotations

import bisect
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np

from insitu.checkpoint import Commit, CommitLog, Part, open_store, read_part, write_part
from insitu.checkpoint.records import Unreadable
from insitu.data import BlockPosition, Cursor, Order, Taken, quotas
from insitu.data.cursor import Digests
from insitu.errors import StaleGeneration
from insitu.topology import ShardId
from tests.unit.builders import JOB, NOON, Interrupted, ids, rank_stream, resumed

EPOCHS = 2
_IDS = 10_000


class Table:
    """Rows that come and go while they are read; shard "3" has ids from 30,000 on.

    `always` are the rows of an epoch that were there when it was first begun and ever since.
    """

    def __init__(self, sizes: Sequence[int], choose: random.Random) -> None:
        self.choose = choose
        self.rows = {
            ShardId(str(n)): sorted(n * _IDS + choose.randrange(_IDS) for _ in range(size))
            for n, size in enumerate(sizes)
        }
        self.rows = {shard: sorted(set(rows)) for shard, rows in self.rows.items()}
        self.always: dict[int, set[int]] = {}

    def begin(self, epoch: int) -> None:
        there = {row for rows in self.rows.values() for row in rows}
        self.always[epoch] = self.always.get(epoch, there) & there

    def change(self) -> None:
        """A few rows are inserted or deleted, close to others, and some of them once more."""
        shard = self.choose.choice(list(self.rows))
        rows = self.rows[shard]
        for _ in range(self.choose.randint(1, 4)):
            near = self.choose.choice(rows) if rows else int(shard) * _IDS
            row = near + self.choose.randint(-3, 3)
            if row in rows:
                rows.remove(row)
                for there in self.always.values():
                    there.discard(row)
            elif row // _IDS == int(shard):
                bisect.insort(rows, row)


class World:
    """One generation: `world_size` ranks over `table`, from the newest commit on.

    Each commit has one part: `[epoch, id]` of every row trained on since its parent, and the
    digests of what was taken of the blocks that are begun.
    """

    def __init__(
        self, log: CommitLog, table: Table, generation: int, choose: random.Random
    ) -> None:
        self.log, self.table, self.choose = log, table, choose
        self.generation = generation
        self.world_size = choose.randint(1, 5)
        self.writer = log.fence(generation, writer=str(uuid4()), time=NOON)
        newest = log.newest()
        assert newest.skipped == ()
        self.commit: Commit | None = newest.commit
        order = Order(seed=3, block_rows=choose.choice([4, 8]))
        self.cursor = Cursor(order=order)
        self.digests: dict[ShardId, Digests] = {}
        if self.commit is not None:
            self.cursor = self.commit.cursor
            kept = read(log, self.commit.parts[0])["taken"]
            self.digests = {ShardId(s): np.array(t, np.uint64) for s, t in kept.items()}
        self.since: list[tuple[int, int]] = []
        self.open_epoch()

    def open_epoch(self) -> None:
        self.table.begin(self.cursor.epoch)
        owner = {shard: self.choose.randrange(self.world_size) for shard in self.table.rows}
        self.streams = [
            rank_stream(
                self.table.rows,
                self.cursor,
                mine=[shard for shard in self.table.rows if owner[shard] == rank],
                page_rows=self.choose.randint(1, 9),
                window=self.choose.randint(1, 5),
                estimate=self.choose.choice([None, 0, 5]),
                digests=self.digests,
                tracked=True,
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
        for stream in self.streams:
            stream.advanced(self.cursor)
        if all(stream.dry for stream in self.streams):
            assert self.cursor.finished == set(self.table.rows)
            self.cursor = self.cursor.next_epoch()
            self.save()
            self.digests = {}
            self.open_epoch()

    def save(self) -> None:
        part = self.upload()
        parent = None if self.commit is None else self.commit.seq
        self.commit = self.writer.commit(
            self.begun()[0], [part], world_size=self.world_size, time=NOON, parent=parent
        )
        self.since = []

    def begun(self) -> tuple[Cursor, dict[ShardId, Digests]]:
        cursor, digests = self.cursor, dict[ShardId, Digests]()
        blocks = dict[ShardId, BlockPosition]()
        for stream in self.streams:
            kept, taken = resumed(stream, cursor)
            blocks |= kept.blocks
            digests |= taken
        return replace(cursor, blocks=blocks), digests

    def upload(self) -> Part:
        taken = {shard: digests.tolist() for shard, digests in self.begun()[1].items()}
        return write_part(
            self.log.store,
            JOB,
            fence=self.writer.fence.seq,
            step=self.cursor.step,
            rank=0,
            unique=str(uuid4()),
            buffers=[json.dumps({"since": self.since, "taken": taken}).encode()],
        )

    def die(self) -> None:
        """Killed between two steps, in one, or between the upload and the commit."""
        self.streams[0].take(self.choose.choice([0, 3]))
        if self.choose.random() < 0.3:
            self.upload()


def act(world: World) -> None:
    """A change of the table, a step, and a commit, or some of these."""
    if world.choose.random() < 0.5:
        world.table.change()
    if not world.done:
        world.step(world.choose.randint(1, 20))
    if not world.done and world.choose.random() < 0.4:
        world.save()


def run_job(seed: int) -> tuple[CommitLog, Table, int]:
    """A job to its last epoch; returns its log, its table and how many zombies were refused."""
    choose = random.Random(seed)
    sizes: Sequence[int] = [choose.choice([0, 1, 2, 5, 17]) for _ in range(choose.randint(1, 9))]
    table = Table(sizes, choose)
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
            rows.update((epoch, row) for epoch, row in read(log, part)["since"])
        newest = None if newest.parent is None else log.at(newest.parent)
    return rows


def read(log: CommitLog, part: Part) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(bytes(read_part(log.store, part)))
    return content


def test_each_row_is_in_the_parameters_exactly_once_per_epoch_whatever_happens() -> None:
    """A row that comes or goes meanwhile is in them at most once."""
    refused = once = 0
    for seed in range(1000):
        log, table, refusals = run_job(seed)
        rows = committed_rows(log)
        always = {(epoch, row) for epoch in range(EPOCHS) for row in table.always[epoch]}
        assert always <= rows.keys(), f"seed {seed}: rows were missed"
        assert set(rows.values()) <= {1}, f"seed {seed}: rows were taken twice"
        once += len(rows.keys() - always)
        records = [log.record(seq) for seq in log.sequence()]
        generations = [r.generation for r in records if not isinstance(r, Unreadable)]
        assert generations == sorted(generations), f"seed {seed}: a stale record"
        refused += refusals
    assert refused > 200
    assert once > 200
