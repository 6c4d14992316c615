"""Scan pages: how they are asked for, what a reply holds, and how many rows the next one may have.

A page is counted in rows when it is asked for, and in bytes by whoever has to hold it: the server
builds it on its heap, at several times its size. Source of the format: Apache Ignite
documentation, "Binary Client Protocol: SQL and Scan Queries", OP_QUERY_SCAN.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from insitu.errors import ProtocolError

SCAN: Final = 2000
NEXT_PAGE: Final = 2001

_SCAN: Final = struct.Struct("<ibBiib")
_CURSOR: Final = struct.Struct("<q")
_COUNT: Final = struct.Struct("<i")
_NO_FILTER: Final = 101

#: Rows of the very first page, when nothing is known of their size: each may have megabytes.
_FIRST_ROWS: Final = 1
#: How many more rows than were ever measured are asked for at once.
_GROWTH: Final = 8
#: Pages asked for over one connection: the server builds the second while it sends the first.
IN_FLIGHT: Final = 2
#: A heap has room for this many pages of each in flight: the copies that are made of one, other
#: clients, and the server's own work.
_PAGES_PER_HEAP: Final = 48
_LEAST_PAGE: Final = 1 << 16
_FAR_OVER: Final = 4
#: What a server's heap is taken for when it does not tell.
USUAL_HEAP: Final = 512 << 20


@dataclass(frozen=True, slots=True)
class Page:
    """`count` rows from byte `start` of `data` on; `more` rows follow on another page."""

    data: memoryview
    start: int
    count: int
    more: bool


def scan_request(cache_id: int, partition: int, rows: int) -> bytes:
    """Body of `SCAN`: one partition, only the copy that the asked node itself holds."""
    keep_binary = 0
    return _SCAN.pack(cache_id, keep_binary, _NO_FILTER, rows, partition, True)


def cursor_request(cursor: int) -> bytes:
    """Body of `NEXT_PAGE`, and of the request that closes the cursor."""
    return _CURSOR.pack(cursor)


def parse_scan(body: memoryview) -> tuple[int, Page]:
    """The reply to `SCAN`: a cursor, which is closed already unless more rows follow."""
    if len(body) < _CURSOR.size:
        raise ProtocolError(f"a scan can't begin with {len(body)} bytes")
    return _CURSOR.unpack_from(body)[0], _parse(body, _CURSOR.size)


def parse_next(body: memoryview) -> Page:
    """The reply to `NEXT_PAGE`."""
    return _parse(body, 0)


def _parse(body: memoryview, at: int) -> Page:
    start = at + _COUNT.size
    if len(body) <= start:
        raise ProtocolError(f"a page can't have {len(body)} bytes")
    (count,) = _COUNT.unpack_from(body, at)
    # Each key and each value takes a byte at least.
    if not 0 <= 2 * count < len(body) - start:
        raise ProtocolError(f"a page of {len(body)} bytes can't have {count} rows")
    return Page(body[:-1], start, count, bool(body[-1]))


def page_limit(wanted: int, buffer: int, connections: int, heap: int | None) -> int:
    """Bytes that a page may have: what is `wanted`, but never so much that the `buffer` can't hold
    one of each connection and one that is taken, or that a server with that `heap` can't safely
    build so many at once.
    """
    safe = (heap or USUAL_HEAP) // (_PAGES_PER_HEAP * IN_FLIGHT * connections)
    return max(min(wanted, buffer // (connections + 1), safe), _LEAST_PAGE)


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
        """Rows of the next page to open, 1 at least."""
        return max(1, min(self.most, int(self.limit / max(self.row_bytes, 1.0))))

    @property
    def bytes(self) -> int:
        """What to expect of a page of these rows, at most."""
        return max(self.limit, int(self.rows * self.row_bytes))

    @property
    def one_at_a_time(self) -> bool:
        """Whether a page, of a single row even, is so far over the limit that the server should
        build no other beside it.
        """
        return self.bytes > _FAR_OVER * self.limit

    def after(self, page: Page) -> PageSize:
        """With what `page` tells."""
        if not page.count:
            return self
        mean = (len(page.data) - page.start) / page.count
        known = self.row_bytes
        row_bytes = mean if mean > known else known + (mean - known) / 2
        return replace(self, row_bytes=row_bytes, most=max(self.most, _GROWTH * page.count))

    def refused(self, rows: int) -> PageSize:
        """After the server could not build a page of so many rows."""
        fewer = max(1, rows // 4)
        limit = min(self.limit, int(fewer * self.row_bytes) or self.limit)
        return replace(self, limit=limit, most=fewer)

    def is_off(self, rows: int, seen: int) -> bool:
        """Whether a cursor that was opened for pages of `rows`, and is `seen` rows into its
        partition, is better opened again: the rows have grown so much that its pages are too
        large, or its pages are far too small and there is little to read once more.
        """
        if rows > 1 and rows * self.row_bytes > 2 * self.limit:
            return True
        return self.rows >= 4 * rows and 2 * seen * self.row_bytes <= self.limit
