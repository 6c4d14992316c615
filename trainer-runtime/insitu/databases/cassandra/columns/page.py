"""A page of a result: rows as they came, not looked at yet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """`count` rows, from byte `start` of `data` to its end.

    A row is its cells in the order of columns; a cell is its length, an int of 4 bytes that is
    negative for null, and as many bytes. Everything is big endian. `paging_state` asks for the
    next page, None after the last.
    """

    data: memoryview
    start: int
    count: int
    paging_state: bytes | None = None
