"""How many rows to ask for: the protocol counts pages in rows, and whoever holds them in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from insitu.databases.cassandra.columns.types import Column, width

#: Pages asked for over one connection: the server reads one range while it sends another.
IN_FLIGHT: Final = 2
#: Rows of the very first page, when nothing is known of their size: they may be large.
_FIRST_ROWS: Final = 8
#: How many more rows than were ever measured are asked for at once.
_GROWTH: Final = 8
#: The server's time-out is for a whole page, and a slow one reads some 10,000 rows a second.
_MOST_ROWS: Final = 20_000
_LEAST_PAGE: Final = 1 << 16
_SMALLER: Final = 4


@dataclass(frozen=True, slots=True)
class PageSize:
    """How many rows to ask for, from all pages that came before.

    `limit` is in bytes. `row_bytes` follows growing rows at once and shrinking ones slowly. `most`
    bounds the rows: few measured rows are no reason to ask for very many.
    """

    limit: int
    row_bytes: float = 0.0
    most: int = _FIRST_ROWS

    @property
    def rows(self) -> int:
        """Rows of the next page, 1 at least."""
        return max(1, min(self.most, int(self.limit / max(self.row_bytes, 1.0))))

    @property
    def bytes(self) -> int:
        """What to expect of a page of these rows, at most."""
        return max(self.limit, int(self.rows * self.row_bytes))

    def after(self, rows: int, size: int) -> PageSize:
        """With what a page of `rows` rows in `size` bytes tells."""
        if not rows:
            return self
        mean, known = size / rows, self.row_bytes
        row_bytes = mean if mean > known else known + (mean - known) / 2
        most = min(max(self.most, _GROWTH * rows), _MOST_ROWS)
        return replace(self, row_bytes=row_bytes, most=most)


def first_size(limit: int, columns: Sequence[Column]) -> PageSize:
    """Before the first page: rows of fixed width tell their size without being read."""
    widths = [width(column.type) for column in columns]
    if None in widths:
        return PageSize(limit)
    row_bytes = sum(4 + each for each in widths if each is not None)
    return PageSize(limit, row_bytes, _MOST_ROWS)


def page_limit(wanted: int, buffer: int, connections: int) -> int:
    """Bytes that a page may have: what is `wanted`, but never so much that the `buffer` can't hold
    one of each connection and one that is taken.
    """
    return max(min(wanted, buffer // (connections + 1)), _LEAST_PAGE)


def fewer(rows: int) -> int:
    """What to ask for after the server could not give a page of `rows` rows."""
    return max(1, rows // _SMALLER)
