"""What one reader may hold: pages in its own memory, and open cursors in its server's."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from insitu.databases.ignite.reading.pages import USUAL_HEAP

#: An open cursor holds all rows of one leaf of the server's B+ tree on its heap, however few were
#: asked for. A leaf of Ignite's usual 4 KiB has an entry of 12 bytes for each row.
_LEAF_ROWS: Final = 340
#: One reader's cursors get this share of the heap.
_CURSORS_SHARE: Final = 4
#: Ignite's own limit is 128, for all that go over one connection.
_CURSORS_PER_CONNECTION: Final = 64
#: Partitions are as uneven as hashing makes them.
_UNEVEN: Final = 1.5


class Need(enum.IntEnum):
    """Why a page is asked for: the less its need, the more room it has to leave for others."""

    #: Somebody waits for it.
    AWAITED = 0
    #: Somebody takes pages of that partition, and none is here.
    NEXT = 1
    #: It may be wanted later.
    AHEAD = 2


@dataclass(slots=True)
class Budget:
    """`total` bytes of pages that one reader has asked for, or holds and has not handed out.

    One page of `page` bytes that is awaited always finds room, and so does one for each of
    `connections` that comes next: pages ahead of need never keep a connection from its work. A
    page that turns out larger than asked for can exceed the total; then one awaited page at a time
    goes over it, because pages that nobody takes yet would otherwise hold up the awaited one for
    ever.
    """

    total: int
    page: int
    connections: int = 1
    used: int = 0
    asked: int = 0

    def admits(self, size: int, need: Need) -> bool:
        """Whether a page of `size` bytes may be asked for now."""
        kept = {Need.AWAITED: 0, Need.NEXT: 1, Need.AHEAD: 1 + self.connections}[need]
        fits = size + kept * self.page <= self.total - self.used
        return fits or not self.used or (need is Need.AWAITED and not self.asked)

    def ask(self, size: int) -> None:
        """Counts a page as asked for."""
        self.used += size
        self.asked += 1

    def arrive(self, asked: int, actual: int) -> None:
        """The page that was asked for with `asked` bytes is here, and has `actual` ones."""
        self.used += actual - asked
        self.asked -= 1

    def hand_out(self, size: int) -> None:
        """A page is not held here any more."""
        self.used -= size


@dataclass(slots=True)
class Cursors:
    """How many cursors may be open over `connections` connections to a server with that `heap`.

    `longest` is how many rows a partition has at most, as far as is known: first by the table's
    average, then by what was read. None is not known at all.
    """

    connections: int
    heap: int | None
    longest: int | None = None

    def limit(self, row_bytes: float) -> int:
        """For rows of that size, 1 at least; 0 bytes stand for rows that nobody has seen yet."""
        if not row_bytes:
            return 1
        rows = _LEAF_ROWS if self.longest is None else min(_LEAF_ROWS, _UNEVEN * self.longest)
        safe = (self.heap or USUAL_HEAP) / _CURSORS_SHARE / max(rows * row_bytes, 1)
        return max(1, min(int(safe), _CURSORS_PER_CONNECTION * self.connections))

    def finished(self, rows: int) -> None:
        """A partition was read to its end, and had so many rows."""
        if self.longest is not None:
            self.longest = max(self.longest, int(rows / _UNEVEN))
