"""One shard in its epoch's order: pages in, permuted blocks out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from insitu.data.cursor import BegunShard, BlockPosition, Digests
from insitu.data.gather import Permuted, Piece, Places
from insitu.data.order import Order
from insitu.databases import RowKeys, RowPosition, ShardStream
from insitu.errors import ProtocolError
from insitu.topology import ShardId

NO_DIGESTS: Digests = np.empty(0, np.uint64)


class OpenShard:
    """The rows of `shard` that a cursor has not taken yet, in the order of `epoch`.

    `stream` starts at the first row of the block that `begun` is in the middle of: all rows that
    are now between that block's first and last one are permuted again, and those that were taken
    are left out. Holds one block and the rest of one page.

    With `tracked` it can tell where each cursor stands, from the one it began with or the last
    that was given to `forget` on.
    """

    def __init__(
        self,
        shard: ShardId,
        stream: ShardStream,
        schema: pa.Schema,
        *,
        order: Order,
        epoch: int,
        taken: int = 0,
        begun: BegunShard | None = None,
        tracked: bool = False,
    ) -> None:
        self.shard = shard
        self.taken = taken
        #: Whether rows came or went where `begun` was in the middle of a block, as far as is seen.
        self.changed = False
        self._stream = stream
        self._schema = schema
        self._order = order
        self._epoch = epoch
        self._begun = begun
        self._number = begun.block.number if begun else 0
        self._pages: Iterator[pa.RecordBatch] = iter(stream)
        self._page: pa.RecordBatch | None = None
        self._page_keys: RowKeys | None = None
        self._page_row = 0
        self._block: Permuted | None = None
        self._next_row = 0
        self._at_end = False
        self._tracked = tracked
        self._drawn: deque[_Drawn] = deque()

    @property
    def exhausted(self) -> bool:
        """True when no row is left. Waits for the next page where that is what it takes."""
        if self._begun:  # Only its block can tell whether all its rows were taken before.
            return not self._ready()
        return self._block is None and not self._next_page()

    @property
    def at_end(self) -> bool:
        """True when the database has no rows of it left to send, so `buffered` is all there is."""
        return self._at_end

    @property
    def buffered(self) -> int:
        """Rows that are here: of the current block and of the page behind it."""
        block = 0 if self._block is None else len(self._block) - self._next_row
        return block + (0 if self._page is None else self._page.num_rows)

    def draw(self, rows: int) -> Piece | None:
        """The next 1 to `rows` rows, of the current block; None when there is none left."""
        if not self._ready() or self._block is None:
            return None
        first, end = self._next_row, min(self._next_row + rows, len(self._block))
        piece = Piece(self._block, first, end)
        self.taken += end - first
        self._next_row = end
        if end == len(self._block):
            self._block = None
        return piece

    def begun_at(self, taken: int) -> BegunShard:
        """Where a later reader goes on after `taken` rows in all; some row has to be left then."""
        for drawn in self._drawn:
            if drawn.start <= taken < drawn.end:
                return drawn.begun(taken - drawn.start)
        assert self._page_keys is not None, f"shard {self.shard} has no row left after {taken}"
        first = self._page_keys.position(self._page_row)
        return BegunShard(BlockPosition(first, number=self._number), NO_DIGESTS)

    def forget(self, taken: int) -> None:
        """No cursor with fewer than `taken` rows will be asked for any more."""
        while self._drawn and self._drawn[0].end <= taken:
            self._drawn.popleft()

    def close(self) -> None:
        self._stream.close()

    def _ready(self) -> bool:
        """Whether a row can be drawn; a block is permuted only when one is about to be."""
        while self._block is None and self._next_page():
            begun, self._begun = self._begun, None
            self._next_block(begun)
        if self._begun and self._at_end:
            self._begun, self.changed = None, True
        return self._block is not None

    def _next_page(self) -> bool:
        """Makes sure that there is a page with rows, unless the shard is at its end."""
        while self._page is None and not self._at_end:
            page = next(self._pages, None)
            if page is None:
                self._at_end = True
                self._stream.close()
            elif not page.schema.equals(self._schema):
                raise ProtocolError(
                    f"shard {self.shard}: the reader gave columns {page.schema.names} of types "
                    f"{[str(t) for t in page.schema.types]}, and promised {self._schema.names} of "
                    f"{[str(t) for t in self._schema.types]}"
                )
            elif page.num_rows:
                self._page, self._page_keys, self._page_row = page, self._stream.keys(), 0
        return self._page is not None

    def _next_block(self, begun: BegunShard | None) -> None:
        """Reads and permutes the next block; none where all its rows are taken or gone."""
        batches, rows = self._read_block(begun.block.last if begun else None)
        number, length = self._number, sum(part.length for part in rows)
        self._number += 1
        taken = begun.taken if begun else NO_DIGESTS
        places: Places = np.empty(0, np.intp)
        found = 0
        if length:
            places = self._order.permutation(self._epoch, self.shard, number, length)
        if length and len(taken):
            left = ~np.isin(_digests(rows, places), taken)
            found = length - int(left.sum())
            places = places[left]
        if begun:
            self.changed = found < len(taken) or not _same(begun.block, rows)
        if not len(places):
            return
        block = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
        self._block, self._next_row = Permuted(block, places), 0
        if self._tracked:
            self._drawn.append(_Drawn(self.taken, number, tuple(rows), places, taken))

    def _read_block(self, last: RowPosition | None) -> tuple[list[pa.RecordBatch], list[_Rows]]:
        """The rows up to `last`, or a block's usual number of them, and their keys."""
        batches: list[pa.RecordBatch] = []
        rows: list[_Rows] = []
        missing = self._order.block_rows
        while (missing or last) and self._next_page():
            page, keys, first = self._page, self._page_keys, self._page_row
            assert page is not None
            assert keys is not None
            count = min(page.num_rows, missing if last is None else keys.up_to(last) - first)
            if count:
                batches.append(page.slice(0, count))
                rows.append(_Rows(keys, first, count))
            missing -= count
            self._page_row += count
            if count < page.num_rows:
                self._page = page.slice(count)
                break
            self._page = None
        return batches, rows


class _Rows(NamedTuple):
    """Rows `first` to `first + length` of a batch, by its keys."""

    keys: RowKeys
    first: int
    length: int


class _Drawn(NamedTuple):
    """A block that is drawn from in the order of `places`, after `start` rows of its shard.

    `earlier` are digests of rows that were taken of it before the shard was opened.
    """

    start: int
    number: int
    rows: tuple[_Rows, ...]
    places: Places
    earlier: Digests

    @property
    def end(self) -> int:
        return self.start + len(self.places)

    def begun(self, drawn: int) -> BegunShard:
        """Where it goes on once `drawn` rows were drawn from it."""
        first = self.rows[0].keys.position(self.rows[0].first)
        taken = np.concatenate([self.earlier, _digests(self.rows, self.places[:drawn])])
        if not len(taken):
            return BegunShard(BlockPosition(first, number=self.number), taken)
        end = self.rows[-1]
        last = end.keys.position(end.first + end.length - 1)
        length = sum(part.length for part in self.rows)
        return BegunShard(BlockPosition(first, last, length, len(taken), self.number), taken)


def _digests(rows: Sequence[_Rows], places: Places) -> Digests:
    """Of the rows at `places` (n,) of a block, in that order."""
    found = np.empty(len(places), np.uint64)
    start = 0
    for keys, first, length in rows:
        here = (places >= start) & (places < start + length)
        found[here] = keys.digests(places[here] - start + first)
        start += length
    return found


def _same(block: BlockPosition, rows: Sequence[_Rows]) -> bool:
    """Whether `rows` begin and end as `block` did when it was read last, as far as it says."""
    if not rows or rows[0].keys.position(rows[0].first) != block.first:
        return False
    if block.last is None:
        return True
    end = rows[-1]
    length = sum(part.length for part in rows)
    return length == block.rows and end.keys.position(end.first + end.length - 1) == block.last
