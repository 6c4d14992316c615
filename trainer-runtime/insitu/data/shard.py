"""One shard in its epoch's order: pages in, permuted blocks out."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from insitu.data.cursor import Block
from insitu.data.gather import Permuted, Piece
from insitu.data.order import Order
from insitu.databases import ShardStream
from insitu.errors import DataChanged, ProtocolError
from insitu.topology import ShardId


class OpenShard:
    """The rows of `shard` that a cursor has not taken yet, in the order of `epoch`.

    `stream` starts at the cursor's `block`, or else at `order.block_start(taken)`: the block that
    `taken` is in is read again, permuted again, and its first rows are dropped. Holds one block
    and the rest of one page.

    With `strict` a shard that has become shorter than `taken` raises `DataChanged`, and so does
    one whose `block`, as the cursor knew it, does not end where it did; without it, nothing is
    left of the one, and the other goes on with the rows that are there now.
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
        block: Block | None = None,
        strict: bool = True,
    ) -> None:
        self.shard = shard
        self.taken = taken
        self._stream = stream
        self._schema = schema
        self._order = order
        self._epoch = epoch
        self._strict = strict
        self._pages: Iterator[pa.RecordBatch] = iter(stream)
        self._page: pa.RecordBatch | None = None
        self._page_row = 0
        self._known = block if block and block.taken else None
        self._place: Block | None = None
        self._block: Permuted | None = None
        self._next_row = 0
        self._at_end = False
        self._drop = block.taken if block else taken - order.block_start(taken)

    @property
    def exhausted(self) -> bool:
        """True when no row is left. Waits for the next page where that is what it takes."""
        if self._drop:  # Only the block can tell whether all its rows were taken before.
            return not self._ready()
        return self._block is None and not self._next_page()

    @property
    def at_end(self) -> bool:
        """True when the database has no rows of it left to send, so `buffered` is all there is."""
        return self._at_end

    @property
    def buffered(self) -> int:
        """Rows that are here: of the current block and of the page behind it."""
        page = 0 if self._page is None else self._page.num_rows
        return self._block_rows + page

    @property
    def block(self) -> Block | None:
        """Where a later reader goes on, as far as the database can tell."""
        if self._block is not None and self._place is not None:
            return self._place._replace(taken=self._place.rows - self._block_rows)
        first = self._stream.mark(self._page_row) if self._page is not None else None
        return None if first is None else Block(first)

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

    def close(self) -> None:
        self._stream.close()

    @property
    def _block_rows(self) -> int:
        """Rows left of the current block."""
        return 0 if self._block is None else len(self._block) - self._next_row

    def _ready(self) -> bool:
        """Whether a row can be drawn; a block is permuted only when one is about to be."""
        if self._block is None and self._next_page():
            self._block, self._next_row = self._permuted(), 0
        elif self._block is None:
            self._check_nothing_vanished(0)
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
                self._page, self._page_row = page, 0
        return self._page is not None

    def _permuted(self) -> Permuted | None:
        """The next block in its order, without what was taken before; None if nothing is left."""
        pieces: list[pa.RecordBatch] = []
        missing = self._known.rows if self._known else self._order.block_rows
        first = last = None
        while missing and self._next_page():
            assert self._page is not None
            piece = self._page.slice(0, missing)
            first = self._stream.mark(self._page_row) if not pieces else first
            self._page_row += piece.num_rows
            last = self._stream.mark(self._page_row - 1)
            rest = self._page.num_rows - piece.num_rows
            self._page = self._page.slice(piece.num_rows) if rest else None
            pieces.append(piece)
            missing -= piece.num_rows
        block = pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
        self._check_nothing_vanished(block.num_rows)
        self._place = None if first is None else Block(first, last, block.num_rows)
        self._check_same_end()
        drop, self._drop = self._drop, 0
        # `drop` is less than a block, so a block that is too short for it is the shard's last.
        if drop >= block.num_rows:
            return None
        number = (self.taken - drop) // self._order.block_rows
        order = self._order.permutation(self._epoch, self.shard, number, block.num_rows)
        return Permuted(block, order[drop:])

    def _check_same_end(self) -> None:
        """Rows that came or went inside of a block that is partly taken shift its permutation."""
        known, self._known = self._known, None
        if known and self._place and self._strict and known.last != self._place.last:
            raise DataChanged(
                f"shard {self.shard}: rows were inserted or deleted among the {known.rows:,} that "
                "this epoch was in the middle of, so the epoch is not exact. Start it afresh, or "
                "set spec.data.onChange to Continue"
            )

    def _check_nothing_vanished(self, rows: int) -> None:
        if self._drop > rows and self._strict:
            there = self.taken - self._drop + rows
            raise DataChanged(
                f"shard {self.shard} has {there:,} rows, and this epoch has taken {self.taken:,} "
                f"of it already: rows were deleted or lost since. Start the epoch afresh, or set "
                f"spec.data.onChange to Continue"
            )
