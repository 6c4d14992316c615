"""One poller for each database table in a namespace, shared by the jobs that train on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import NoReturn, Protocol, Self

from insitu.api import Data, OnChange
from insitu.databases import DataSource, connect
from insitu_operator.shell.databases.polling import Cadence, Look, OpenDatabase, Poller, is_news
from insitu_operator.shell.databases.sources import Opened
from insitu_operator.shell.databases.turns import Turns
from insitu_operator.shell.key import Key
from insitu_operator.shell.tasks import Deaths

THREADS = 32


class Marks(Protocol):
    """Where jobs are marked that there is news about."""

    def add(self, key: Key, *, urgent: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Table:
    """What two jobs must have in common to share a poller. References count, not what they lead to:
    equal values from two Secrets may differ tomorrow.
    """

    namespace: str
    data: Data

    @classmethod
    def of(cls, namespace: str, data: Data) -> Self:
        # What a job does about changes makes no other table of it.
        return cls(namespace, data.model_copy(update={"on_change": OnChange.FAIL}))


@dataclass(slots=True)
class _Shared:
    poller: Poller
    jobs: set[Key] = field(default_factory=set)


class Databases:
    """Use it as an async context manager. For the event loop's thread only.

    Args:
        open_source: Resolves the references of `spec.data` in a namespace.
        marks: Hears of the jobs that a reading is news for.
        open_database: As `insitu.databases.connect`.
        observe: Hears of each try: `read`, or the reason why not.
        cadence: How often each table is read.
        clock: The time of day.
        may_reach: Which addresses may be connected to.
    """

    def __init__(
        self,
        open_source: Callable[[str, Data], Awaitable[Opened]],
        marks: Marks,
        *,
        open_database: OpenDatabase = connect,
        observe: Callable[[str], None] = lambda _outcome: None,
        cadence: Cadence = Cadence(),  # noqa: B008 - a frozen value
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        may_reach: Callable[[str], bool] = lambda _address: True,
    ) -> None:
        self._open_source = open_source
        self._marks = marks
        self._open_database = open_database
        self._observe = observe
        self._cadence = cadence
        self._clock = clock
        self._may_reach = may_reach
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")
        self._turns = Turns(THREADS)
        self._shared: dict[Table, _Shared] = {}
        self._table_of: dict[Key, Table] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._deaths = Deaths()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for key in list(self._table_of):
            self.release(key)
        await asyncio.gather(*self._stopping, return_exceptions=True)
        # What a driver still does has its own time-out; nobody waits for it here.
        self._threads.shutdown(wait=False)

    async def hold(self) -> NoReturn:
        """Raises what a poller died of; else never returns."""
        await self._deaths.hold()

    def look(self, key: Key, data: Data) -> Look:
        """The newest reading for a job, which keeps its table being read until `release`."""
        table = Table.of(key.namespace, data)
        if self._table_of.get(key, table) != table:
            self.release(key)
        shared = self._shared.get(table) or self._start(table)
        shared.jobs.add(key)
        self._table_of[key] = table
        return shared.poller.look

    def source(self, key: Key) -> DataSource | None:
        """The source that the newest reading came from, with what its references lead to."""
        table = self._table_of.get(key)
        return self._shared[table].poller.source if table else None

    def release(self, key: Key) -> None:
        """The job needs no readings any more."""
        table = self._table_of.pop(key, None)
        if table is None:
            return
        shared = self._shared[table]
        shared.jobs.discard(key)
        if not shared.jobs:
            del self._shared[table]
            task = shared.poller.stop()
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    def service_changed(self, namespace: str, name: str) -> None:
        """Opens the tables behind a Service anew, with the addresses of this moment."""
        for table, shared in self._shared.items():
            service = table.data.reach.service
            if table.namespace == namespace and service and service.name == name:
                shared.poller.reopen()

    def _start(self, table: Table) -> _Shared:
        def told(before: Look, after: Look) -> None:
            self._observe(str(after.unread.reason) if after.unread else "read")
            if is_news(before, after):
                for key in shared.jobs:
                    self._marks.add(key, urgent=True)

        poller = Poller(
            lambda: self._open_source(table.namespace, table.data),
            self._open_database,
            self._threads,
            self._turns.of(table.namespace),
            told,
            self._cadence,
            lambda: len(self._shared),
            self._clock,
            self._may_reach,
        )
        shared = self._shared[table] = _Shared(poller)
        self._deaths.watch(poller.start())
        return shared
