"""What one reader may hold in its server's memory: open cursors."""

from __future__ import annotations

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
