"""One portion being read, and the connection that reads it: the state a `Fetcher` works on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from insitu.databases.budget import Need
from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.protocol.connection import Connection
from insitu.databases.cassandra.protocol.faults import ServerError
from insitu.databases.cassandra.reading.statement import Portion
from insitu.errors import DatabaseUnavailable, InsituError

#: How often a page is asked for again after its connection broke or its server failed.
REPEATS: Final = 2
#: How often it is asked for again with fewer rows, after the server said that it was too much.
REFUSALS: Final = 6


@dataclass(slots=True, eq=False)
class Worker:
    """A thread and its connection; `flight` are the pages under way, by stream."""

    connection: Connection | None = None
    flight: dict[int, Asked] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Scan:
    """One portion of a shard. All of it belongs to its `Fetcher` and its lock.

    `paging_state` asks for the next page, and holds for any connection, so whatever happens to
    one, reading goes on where it was. `most` bounds its pages after the server refused a larger
    one; `refusals` and `repeats` count what its next page has cost.
    """

    portion: Portion
    paging_state: bytes | None = None
    pages: deque[Page] = field(default_factory=deque)
    busy: bool = False
    begun: bool = False
    waiting: int = 0
    ended: bool = False
    error: BaseException | None = None
    most: int | None = None
    refusals: int = 0
    repeats: int = 0

    @property
    def need(self) -> Need:
        """How much its next page is needed."""
        if self.waiting > len(self.pages):
            return Need.AWAITED
        return Need.NEXT if self.begun and not self.pages else Need.AHEAD


@dataclass(frozen=True, slots=True)
class Asked:
    """A page of `rows` rows under way; `charge` is what its budget paid, and `at` is when."""

    scan: Scan
    rows: int
    charge: int
    at: float


def given_up(scan: Scan, error: InsituError, rows: int) -> DatabaseUnavailable:
    """What to tell whoever waits for a scan whose page was asked for too often."""
    where = scan.portion.name
    if isinstance(error, ServerError) and error.smaller_may_work:
        problem = f"{where} can't be read, not even {rows} rows at a time: {error}; {error.remedy}"
    else:
        problem = f"{where} could not be read on, tried {REPEATS + 1} times: {error}"
    given_up = DatabaseUnavailable(problem)
    given_up.__cause__ = error
    return given_up
