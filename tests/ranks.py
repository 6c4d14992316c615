"""All ranks of a job as threads of one process, each with a real session over a shared table."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest

from insitu.checkpoint.records import Json
from insitu.checkpoint.tensors import Tensor
from insitu.contract import Assignment, Reporting
from insitu.databases import Database, DataSource
from insitu.errors import Left, PeerLost
from insitu.session import Session
from insitu.session.collective import Ints
from insitu.session.commits import Commits, Snapshot
from insitu.topology import NodeId, Shard, ShardId
from tests.memory import MemoryDatabase

WAIT_SECONDS = 30.0
BREAK = object()


class Threads:
    """A collective of threads; a rank that ends early breaks it, as a dead process would."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.calls = 0
        self._barrier = threading.Barrier(world_size)
        self._slots: list[object] = [None] * world_size

    def of(self, rank: int) -> OneThread:
        return OneThread(self, rank)

    def abandon(self) -> None:
        self._barrier.abort()

    def exchange(self, rank: int, value: object) -> list[object]:
        self._slots[rank] = value
        try:
            self._barrier.wait(WAIT_SECONDS)
        except threading.BrokenBarrierError as error:
            raise PeerLost("another rank went away") from error
        found = list(self._slots)
        with suppress(threading.BrokenBarrierError):  # All messages are here already.
            self._barrier.wait(WAIT_SECONDS)
        if rank == 0:
            self.calls += 1
        return found


@dataclass
class OneThread:
    group: Threads
    rank: int

    @property
    def world_size(self) -> int:
        return self.group.world_size

    def all_gather(self, values: Ints) -> Ints:
        return np.stack([np.asarray(v) for v in self.group.exchange(self.rank, values.copy())])

    def all_gather_bytes(self, value: bytes) -> Sequence[bytes]:
        return [bytes(v) for v in self.group.exchange(self.rank, value)]  # type: ignore[call-overload]


def table(*rows: int) -> dict[ShardId, pa.Table]:
    """As many shards as numbers, with a unique `id` a row."""
    start, shards = 0, {}
    for number, count in enumerate(rows):
        ids = pa.array(range(start, start + count), pa.int64())
        shards[ShardId(str(number))] = pa.table({"id": ids})
        start += count
    return shards


def assignments(
    database: MemoryDatabase, world_size: int, base: Assignment | None = None
) -> list[Assignment]:
    """The shards dealt over the ranks: shard number s to rank s modulo the ranks."""
    topology = database.topology()
    base = base or a_job()
    return [
        replace(
            base,
            rank=rank,
            world_size=world_size,
            node=topology.nodes[rank % len(topology.nodes)],
            nodes=topology.nodes,
            shards=topology.shards[rank::world_size],
            rows=topology.rows,
        )
        for rank in range(world_size)
    ]


def a_job(**changes: object) -> Assignment:
    """A job of one rank over nothing; `changes` are fields of the assignment."""
    base = Assignment(
        job="job",
        generation=1,
        rank=0,
        world_size=1,
        source=DataSource("memory", (("127.0.0.1", 1),), "t"),
        node=MemoryDatabase(table(0)).topology().nodes[0],
        shards=(Shard(ShardId("0"), (NodeId("a"),)),),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


class Parameters:
    """Stands for a framework's state: one number that is the same on all ranks."""

    def __init__(self) -> None:
        self.rows = 0

    def capture(self) -> Snapshot:
        rows = np.array([self.rows], np.int64)
        tensor = Tensor("I64", (1,), rows.tobytes())
        return Snapshot({"rows": self.rows}, {"rows": 8}, lambda _name: tensor, {})

    def restore(self, skeleton: Json, tensors: Mapping[str, Tensor]) -> None:
        assert isinstance(skeleton, dict)
        self.rows = int(np.frombuffer(tensors["rows"].data, np.int64)[0])
        assert skeleton["rows"] == self.rows


@dataclass
class Ran:
    """What a rank did: the ids of each of its batches, and how it ended."""

    batches: list[list[int]] = field(default_factory=list)
    rows_global: list[int] = field(default_factory=list)
    session: Session | None = None
    parameters: Parameters = field(default_factory=Parameters)
    error: Exception | None = None


def train(
    database: Database,
    plan: Sequence[Assignment],
    *,
    epochs: int | None = 1,
    batch_size: int | None = 8,
    reporting: Sequence[Reporting] | None = None,
    at_step: Callable[[Session, int], object] = lambda _session, _step: None,
    accumulate: int = 1,
    script: Callable[[Session], object] | None = None,
) -> list[Ran]:
    """Runs all ranks to their end; `at_step` sees every session before each of its steps, and
    where it gives BREAK the loop is left there. Each update is made of `accumulate` batches.
    `script` takes the place of the whole loop.
    """
    threads = Threads(len(plan))

    def one(assignment: Assignment) -> Ran:
        ran = Ran()
        try:
            collective = threads.of(assignment.rank)
            commits = Commits(assignment, collective, ran.parameters)
            told = reporting[assignment.rank] if reporting else Reporting()
            ran.session = Session(assignment, collective, database, commits, told)
            if script:
                script(ran.session)
                ran.session.end()
                return ran
            waiting = 0

            def update(session: Session = ran.session) -> None:
                nonlocal waiting
                ran.parameters.rows += waiting
                waiting = 0
                session.advance({"rows": 1})

            for number, batch in enumerate(ran.session.batches(epochs, batch_size, update), 1):
                if at_step(ran.session, batch.step) is BREAK:
                    break
                ran.batches.append(batch.table.column("id").to_pylist())
                ran.rows_global.append(batch.rows_global)
                waiting += batch.rows_global
                if number % accumulate:
                    ran.session.advance(updated=False)
                else:
                    update()
            ran.session.end()
        except Exception as error:  # noqa: BLE001 - handed to the test
            ran.error = error
            if not isinstance(error, Left):
                threads.abandon()
        finally:
            if ran.session:
                ran.session.close()
        return ran

    with ThreadPoolExecutor(len(plan)) as pool:
        return list(pool.map(one, plan))


def used(ran: list[Ran]) -> Counter[int]:
    return Counter(chain.from_iterable(chain.from_iterable(rank.batches for rank in ran)))


def errors(ran: list[Ran]) -> list[Exception | None]:
    return [rank.error for rank in ran]


def says(ran: list[Ran], kind: type[Exception] | tuple[type[Exception], ...], text: str) -> bool:
    """Whether some rank ended with such an error; fails with what it was otherwise."""
    own = [rank.error for rank in ran if not isinstance(rank.error, PeerLost) or kind is PeerLost]
    assert own
    for error in own:
        with pytest.raises(kind, match=text):
            raise error or AssertionError("no error")
    return True
