"""Reads one database's topology again and again, beside the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from insitu.api import Reason
from insitu.databases import Database, DataSource
from insitu.databases.sockets import OpenSockets
from insitu.errors import DatabaseUnavailable, InsituError
from insitu.topology import DatabaseNode, Topology
from insitu_operator.core.observed import Reading, Unread
from insitu_operator.core.unread import unread
from insitu_operator.shell.databases.services import ServiceMissing
from insitu_operator.shell.databases.sources import Opened

log = logging.getLogger(__name__)

Open = Callable[[], Awaitable[Opened]]
OpenDatabase = Callable[[DataSource], Database]


@dataclass(frozen=True, slots=True)
class Look:
    """The newest reading that worked, and why the newest try did not, if it did not."""

    reading: Reading | None = None
    unread: Unread | None = None


@dataclass(frozen=True, slots=True)
class Cadence:
    """Seconds.

    Args:
        every: From the end of one reading to the next, while few tables are read.
        share: Of one core, what all readings together should take at most; so many tables, or
            tables of so many shards, are read more seldom.
        slowest: They are read that often all the same.
        overdue: One try may take this long before it counts as failed.
        given_up: And so much longer before its connections are closed and its thread is free again.
        longest_pause: After tries that failed; it doubles up to this.
        reopen: Between two reads of Secrets and Services, which only a failure asks for.
        longest_reopen: The same after many failures.
    """

    every: float = 1.0
    share: float = 0.05
    slowest: float = 10.0
    overdue: float = 20.0
    given_up: float = 40.0
    longest_pause: float = 5.0
    reopen: float = 5.0
    longest_reopen: float = 20.0

    def pause(self, cost: float, tables: int) -> float:
        """Until the next reading, when each of `tables` takes `cost` seconds of a core."""
        fair = cost * tables / self.share
        return max(self.every, min(fair, self.slowest))


def is_news(before: Look, after: Look) -> bool:
    """Whether a job may have to do something about it; rows that come are nobody's concern."""
    if before.unread != after.unread:
        return True
    if before.reading is None or after.reading is None:
        return before.reading is not after.reading
    old, new = before.reading.topology, after.reading.topology
    return _owners(old) != _owners(new) or _fewer_rows(old, new)


class Turn(Protocol):
    """To use one of the threads."""

    async def take(self) -> None: ...

    def give(self) -> None: ...


class Poller:
    """Polls from `start` to `stop`. What it opened is closed when a try fails, and at the end.

    Args:
        opened: Resolves the references of the source, which takes requests.
        open_database: Blocks, as everything does that a database is asked.
        threads: In which databases are asked.
        turn: Taken before each reading, and given back when its thread is free again.
        told: Hears of each try with what was known before and after it.
        cadence: How often.
        tables: How many pollers there are.
        clock: The time of day.
        may_reach: Which addresses may be connected to.
    """

    def __init__(
        self,
        opened: Open,
        open_database: OpenDatabase,
        threads: Executor,
        turn: Turn,
        told: Callable[[Look, Look], None],
        cadence: Cadence,
        tables: Callable[[], int] = lambda: 1,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        may_reach: Callable[[str], bool] = lambda _address: True,
    ) -> None:
        self._open_source = opened
        self._threads = threads
        self._turn = turn
        self._told = told
        self._cadence = cadence
        self._tables = tables
        self._clock = clock
        self._line = _Line(open_database, may_reach)
        self._opened: Opened | None = None
        self._opened_at = 0.0
        self._failures = 0
        self._will_be_told = False
        self._stale = False
        self._poked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.look = Look()

    @property
    def source(self) -> DataSource | None:
        """As it was last opened."""
        return self._opened.source if self._opened else None

    def start(self) -> asyncio.Task[None]:
        """Returns the task that polls."""
        self._task = asyncio.create_task(self._run(), name="topology")
        return self._task

    def reopen(self) -> None:
        """Its addresses or Secrets may be others by now: tries again at once, with those."""
        self._stale = True
        self._poked.set()

    def stop(self) -> asyncio.Task[None]:
        """Returns the task that is about to end; a driver that hangs hangs alone."""
        assert self._task is not None
        self._task.cancel()
        return self._task

    async def _run(self) -> None:
        try:
            while True:
                await self._try()
                await self._rest()
        finally:
            self._line.abandon()
            self._threads.submit(self._line.close)
            if self._opened:
                self._opened.close()

    async def _try(self) -> None:
        self._will_be_told = False
        try:
            await self._resolve()
            reading = await self._read()
        except InsituError as error:
            # What is open can still be read meanwhile.
            self._will_be_told = isinstance(error, ServiceMissing) and self._opened is None
            self._fail(unread(error))
        except Exception as error:
            # A fault of ours or of a driver must not end the polling, and its text may hold
            # anything.
            log.exception("reading a topology failed")
            text = f"reading the database failed with a {type(error).__name__}"
            self._fail(Unread(Reason.DATABASE_UNAVAILABLE, f"{text}; see the operator's log"))
        else:
            self._failures = 0
            self._note(Look(reading))

    async def _resolve(self) -> None:
        now = asyncio.get_running_loop().time()
        failed = self._failures > 0 and now >= self._opened_at + self._reopen_pause
        if self._opened and not self._stale and not failed:
            return
        self._stale, self._opened_at = False, now
        before, self._opened = self._opened, await self._open_source()
        self._line.source = self._opened.source
        if before:
            before.close()

    async def _read(self) -> Reading:
        at = self._clock()
        await self._turn.take()
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._line.topology)
        # Also when nobody waits for it any more: the thread is busy until then.
        asked.add_done_callback(self._heard)
        done, _ = await asyncio.wait({asked}, timeout=self._cadence.overdue)
        if not done:
            text = f"the database has not answered for {self._cadence.overdue:.0f} s"
            self._note(Look(self.look.reading, Unread(Reason.DATABASE_UNAVAILABLE, text)))
            done, _ = await asyncio.wait({asked}, timeout=self._cadence.given_up)
        if not done:
            self._line.abandon()
            with suppress(InsituError):
                return Reading(await asked, at)
            total = self._cadence.overdue + self._cadence.given_up
            raise DatabaseUnavailable(f"the database had not answered after {total:.0f} s")
        return Reading(await asked, at)

    def _heard(self, asked: asyncio.Future[Topology]) -> None:
        self._turn.give()
        _heard(asked)

    def _fail(self, problem: Unread) -> None:
        self._failures += 1
        self._note(Look(self.look.reading, problem))

    def _note(self, look: Look) -> None:
        before, self.look = self.look, look
        self._told(before, look)

    async def _rest(self) -> None:
        pause = self._pause if self._opened else self._reopen_pause
        try:
            async with asyncio.timeout(None if self._will_be_told else pause):
                await self._poked.wait()
        except TimeoutError:
            return
        self._poked.clear()

    @property
    def _pause(self) -> float:
        if not self._failures:
            return self._cadence.pause(self._line.cost, self._tables())
        doubled = self._cadence.every * 2.0 ** min(self._failures - 1, 10)
        return min(doubled, max(self._cadence.longest_pause, self._cadence.every))

    @property
    def _reopen_pause(self) -> float:
        doubled = self._cadence.reopen * 2.0 ** min(max(0, self._failures - 1), 10)
        return min(doubled, self._cadence.longest_reopen)


class _Line:
    """The open database, which is opened where there is none. Used by one thread at a time.

    `cost` is what the last reading took, in seconds of a core.
    """

    def __init__(self, open_database: OpenDatabase, may_reach: Callable[[str], bool]) -> None:
        self._open_database = open_database
        self._lock = threading.Lock()
        self._database: Database | None = None
        self._of: DataSource | None = None
        self._nodes: tuple[DatabaseNode, ...] = ()
        self._may_reach = may_reach
        self._sockets = OpenSockets(may_reach)
        self.source: DataSource | None = None
        self.cost = 0.0

    def topology(self) -> Topology:
        """The columns are checked each time the database is opened."""
        with self._lock:
            if self._of is not self.source:
                self._drop()
                self._forget()
            try:
                with self._sockets.watched():
                    return self._topology()
            except BaseException:
                self._drop()
                raise

    def abandon(self) -> None:
        """Whoever waits for the database waits no more; from the event loop's thread."""
        self._sockets.end()

    def _topology(self) -> Topology:
        if self._database is None:
            source = self._of = self.source
            assert source is not None
            self._database = self._open_database(source.also_at(self._nodes))
            self._database.check()
        began = time.thread_time()
        topology = self._database.topology()
        self.cost = time.thread_time() - began
        self._nodes = topology.nodes
        return topology

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _forget(self) -> None:
        """An address may belong to somebody else by the time that a Service's have changed."""
        if self._of and self.source and self._of.endpoints != self.source.endpoints:
            self._nodes = ()

    def _drop(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()
        self._sockets.end()
        self._sockets = OpenSockets(self._may_reach)


def _owners(topology: Topology) -> object:
    return topology.version, topology.nodes, topology.orphans, topology.moving


def _fewer_rows(old: Topology, new: Topology) -> bool:
    return old.rows is not None and new.rows is not None and new.rows < old.rows


def _heard(asked: asyncio.Future[Topology]) -> None:
    if not asked.cancelled():
        asked.exception()
