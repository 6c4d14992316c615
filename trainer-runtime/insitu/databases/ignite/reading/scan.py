"""One partition being read, and the connection that reads it: the state a `Fetcher` works on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.reading.budget import Need
from insitu.databases.ignite.reading.pages import Page


@dataclass(slots=True, eq=False)
class Worker:
    """A thread and its connection; `stale` are cursors that nobody reads any more."""

    connection: Connection | None = None
    stale: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Cursor:
    """Open at the server of `worker`'s connection, `seen` rows into its partition."""

    worker: Worker
    number: int
    rows: int
    seen: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A page; its first `drop` rows are not wanted."""

    page: Page
    drop: int
    charge: int


@dataclass(slots=True, eq=False)
class Scan:
    """One partition from row `skip` on. All of it belongs to its `Fetcher` and its lock."""

    partition: int
    skip: int
    next_row: int
    pages: deque[Arrived] = field(default_factory=deque)
    cursor: Cursor | None = None
    busy: bool = False
    begun: bool = False
    waiting: int = 0
    ended: bool = False
    error: BaseException | None = None
    reopenings: int = 0

    @property
    def need(self) -> Need:
        """How much its next page is needed."""
        if self.waiting > len(self.pages):
            return Need.AWAITED
        return Need.NEXT if self.begun and not self.pages else Need.AHEAD
