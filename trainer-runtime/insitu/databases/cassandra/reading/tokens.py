"""Tokens of a page's rows, worked out from their keys, and only for rows that are asked for.

The server could send each row's token, at twelve bytes a row and work of its own. Rows come in
the order of tokens, so a few steps of a binary search tell where those of one token begin.
"""

from __future__ import annotations

import bisect
import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from cassandra.metadata import Murmur3Token

from insitu.databases import RowPosition
from insitu.databases.cassandra.columns.cells import KeyCells

_SHORT = struct.Struct(">H")
_LONG = struct.Struct(">q")


class Mark(NamedTuple):
    """A token, and how many rows of it are before the row."""

    number: int
    rows: int

    @classmethod
    def of(cls, position: RowPosition) -> Mark:
        return cls(position.number, _LONG.unpack(position.key)[0])


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

    def up_to(self, mark: Mark) -> int:
        """How many of these rows are at `mark` or before it."""
        return bisect.bisect_right(range(self._count), mark, key=self.mark)


class Keys:
    """`insitu.databases.RowKeys` of a batch that begins with row `first` of `tokens`."""

    def __init__(self, tokens: Tokens, first: int) -> None:
        self._tokens = tokens
        self._first = first

    def position(self, row: int) -> RowPosition:
        number, rows = self._tokens.mark(self._first + row)
        return RowPosition(number, _LONG.pack(rows))

    def up_to(self, position: RowPosition) -> int:
        return max(self._tokens.up_to(Mark.of(position)) - self._first, 0)

    def digests(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
        found = np.empty(len(rows), np.uint64)
        for at, row in enumerate(rows.tolist()):
            number, key = self.position(row)
            digest = hashlib.blake2b(_LONG.pack(number) + key, digest_size=8).digest()
            found[at] = int.from_bytes(digest, "little")
        return found
