"""One partition being read, and the connection that reads it: the state a `Fetcher` works on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from insitu.databases import RowPosition
from insitu.databases.budget import Need
from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.protocol.faults import ServerError
from insitu.databases.ignite.reading.keys import EntryKeys, is_ordered
from insitu.databases.ignite.reading.pages import Page
from insitu.errors import DatabaseUnavailable, InsituError

#: How often one partition is opened again after its connection broke, or its cursor vanished.
REOPENINGS: Final = 2


@dataclass(slots=True, eq=False)
class Worker:
    """A thread and its connection; `stale` are cursors that nobody reads any more, and `flight`
    the pages that were asked for and not yet received, oldest first.
    """

    connection: Connection | None = None
    stale: list[int] = field(default_factory=list)
    flight: deque[Asked] = field(default_factory=deque)


@dataclass(slots=True)
class Cursor:
    """Open at the server of `worker`'s connection, `seen` rows into its partition, for pages of
    `rows`. `reached` once all rows that still come are wanted.
    """

    worker: Worker
    number: int
    rows: int
    seen: int = 0
    reached: bool = False


@dataclass(frozen=True, slots=True)
class Arrived:
    """A page; its first `drop` rows are not wanted."""

    page: Page
    drop: int
    charge: int


@dataclass(slots=True, eq=False)
class Scan:
    """One partition from `start` on. All of it belongs to its `Fetcher` and its lock.

    `newest` are the keys of the page that came last, and `rows` how many came that were wanted: a
    cursor that is opened again begins with the partition's first row, whatever rows have come or
    gone since.
    """

    partition: int
    start: RowPosition | None = None
    newest: EntryKeys | None = None
    newest_rows: int = 0
    rows: int = 0
    pages: deque[Arrived] = field(default_factory=deque)
    cursor: Cursor | None = None
    busy: bool = False
    begun: bool = False
    waiting: int = 0
    ended: bool = False
    error: BaseException | None = None
    reopenings: int = 0

    def unwanted(self, keys: EntryKeys, rows: int) -> int:
        """How many of the `rows` rows of the cursor's next page, which are the page's first, were
        given already, or lie before `start`.

        Raises:
            UnsupportedType, ProtocolError: the rows' positions are not known.
        """
        cursor = self.cursor
        assert cursor is not None
        if cursor.reached or not rows:
            return 0
        if self.newest is not None:
            newest = self.newest.key(self.newest_rows - 1)
            drop, cursor.reached = keys.through(newest)
        else:
            drop = 0 if self.start is None else keys.before(self.start)
            cursor.reached = drop < rows
        return drop

    def lost_its_place(self, cursor: Cursor) -> bool:
        """Whether a cursor came to its end, and it is not known which of its rows were given."""
        if self.newest is None or cursor.reached:
            return False
        return not is_ordered(self.newest.key(self.newest_rows - 1))

    @property
    def need(self) -> Need:
        """How much its next page is needed."""
        if self.waiting > len(self.pages):
            return Need.AWAITED
        return Need.NEXT if self.begun and not self.pages else Need.AHEAD


@dataclass(frozen=True, slots=True)
class Asked:
    """A page of `rows` rows, on its way over `connection`; `charge` is what its budget paid."""

    scan: Scan
    connection: Connection
    request: int
    rows: int
    charge: int


def given_up(scan: Scan, error: InsituError) -> DatabaseUnavailable:
    """What to tell whoever waits for a scan that was opened too often."""
    if isinstance(error, ServerError) and error.out_of_memory:
        problem = (
            f"the server can't build a page with a single row of partition {scan.partition} on its "
            f"heap ({error}); give its Java process more (-Xmx)"
        )
    else:
        problem = (
            f"partition {scan.partition} could not be read on after {scan.rows:,} rows, "
            f"tried {REOPENINGS + 1} times: {error}"
        )
    given_up = DatabaseUnavailable(problem)
    given_up.__cause__ = error
    return given_up
