"""Tokens of a page's rows, worked out from their keys, and only for rows that are asked for.

The server could send each row's token, at twelve bytes a row and work of its own. Rows come in
the order of tokens, so a few steps of a binary search tell where those of one token begin.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Sequence

from cassandra.metadata import Murmur3Token

from insitu.databases import Mark
from insitu.databases.cassandra.columns.cells import KeyCells

_SHORT = struct.Struct(">H")


def token_of(key: Sequence[bytes]) -> int:
    """The Murmur3 token of the values of a partition key."""
    data = key[0] if len(key) == 1 else b"".join(map(_component, key))
    token: int = Murmur3Token.hash_fn(data)
    return token


def _component(value: bytes) -> bytes:
    return _SHORT.pack(len(value)) + value + b"\0"


class Tokens:
    """Of `count` rows whose keys are `key`.

    `before` is the place of the row before the first one, where there is one.
    """

    def __init__(self, key: Sequence[KeyCells], count: int, before: Mark | None) -> None:
        self._key = key
        self._count = count
        self._before = before

    def token(self, row: int) -> int:
        """The token of row `row`."""
        return token_of([cells.value(row) for cells in self._key])

    def mark(self, row: int) -> Mark:
        """The place of row `row`: its token, and how many rows of that token are before it."""
        token = self.token(row)
        first = row
        if row and self.token(row - 1) == token:  # rare, but in tables of wide partitions
            first = bisect.bisect_left(range(row), token, key=self.token)
        earlier = 0
        if first == 0 and self._before is not None and self._before.number == token:
            earlier = self._before.rows + 1
        return Mark(token, row - first + earlier)

    def reaching(self, mark: Mark, passed: int) -> int:
        """How many of these rows are before `mark`, where `passed` rows of its token came
        already; never one of another token.
        """
        most = min(max(mark.rows - passed, 0), self._count)
        return bisect.bisect_right(range(most), mark.number, key=self.token)
