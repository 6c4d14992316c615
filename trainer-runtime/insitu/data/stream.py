"""The rows of one rank in one epoch: many shards in, batches of exactly the asked size out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa

from insitu.data.cursor import BegunShard, Cursor, Digests, Taken
from insitu.data.gather import Piece, gather
from insitu.data.quota import Remaining
from insitu.data.shard import NO_DIGESTS, OpenShard
from insitu.databases import Reader
from insitu.topology import Shard, ShardId

WINDOW = 4
_MOST_AHEAD = 64


class RankStream:
    """Takes `shards` from `cursor` to the end of its epoch.

    The first `window` shards of the epoch's order that are not finished are drawn from side by
    side, so that a batch mixes shards; a finished one makes room for the next. Which shards these
    are follows from the cursor alone, so a stream made from a later cursor goes on exactly where
    this one stands: what is taken depends on the cursor, the shards and the asked numbers, never
    on time or threads.

    Further shards are opened ahead, as many as the next step may need: opening one makes its
    reader start to fetch, and the reader bounds the bytes.

    An error of a reader ends the stream: make a new one from the last cursor. Draw from one
    thread; all else may come from another.

    Args:
        shards: this rank's own, all of the epoch; those the cursor has finished are left out.
        cursor: where to start; its `order` is the order of the epoch.
        reader_for: the reader to take a shard from: the database node beside this rank, or
            another one for a shard that is not held there.
        schema: of every batch, also where there are no shards.
        digests: of the rows that were taken of the blocks that `cursor` is in the middle of.
        window: shards to mix. More mix better and hold more blocks in memory.
        tracked: `begun` will be asked for, and `advanced` be told each cursor.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        cursor: Cursor,
        reader_for: Callable[[ShardId], Reader],
        schema: pa.Schema,
        *,
        digests: Mapping[ShardId, Digests] = MappingProxyType({}),
        window: int = WINDOW,
        tracked: bool = False,
    ) -> None:
        self._cursor = cursor
        self._digests = digests
        self._reader_for = reader_for
        self._schema = schema
        self._window_size = window
        self._is_tracked = tracked
        self._tracked: dict[ShardId, OpenShard] = {}
        self._lock = threading.Lock()
        self._weights = {shard.id: shard.weight for shard in shards}
        unfinished = self._weights.keys() - cursor.finished
        self._queue = deque(cursor.order.shards(cursor.epoch, unfinished))
        self._queued_rows = sum(self._estimate(shard) for shard in self._queue)
        self._ahead: deque[OpenShard] = deque()
        self._ahead_rows = 0
        self._window: list[OpenShard] = []
        self._open_ahead(cursor.order.block_rows)

    @property
    def dry(self) -> bool:
        """True once every shard was reported finished. Shards that may be empty count as rows."""
        return not (self._window or self._ahead or self._queue)

    @property
    def remaining(self) -> Remaining:
        """Rows left by the shards' weights; exact once all that is left has been read."""
        if self.dry:
            return Remaining(0, exact=True)
        opened = [*self._window, *self._ahead]
        if not self._queue and all(shard.at_end for shard in opened):
            return Remaining(sum(shard.buffered for shard in opened), exact=True)
        rows = self._queued_rows + sum(self._left(shard) for shard in opened)
        return Remaining(max(rows, 1), exact=False)

    def take(self, rows: int) -> tuple[pa.RecordBatch, tuple[Taken, ...]]:
        """What `draw` gives, its rows as one batch."""
        pieces, used = self.draw(rows)
        return gather(pieces, self._schema), used

    def draw(self, rows: int) -> tuple[list[Piece], tuple[Taken, ...]]:
        """The next `min(rows, all that is left)` rows, and what was used of which shard.

        A shard appears once, with `finished` set if these were its last rows; one that turns out
        to have none appears with 0 rows. After fewer than `rows` rows the stream is dry; `draw(0)`
        finds out whether there is a row at all.
        """
        pieces: list[Piece] = []
        used: dict[ShardId, Taken] = {}
        missing = rows
        with self._lock:
            while missing and self._fill_window(rows, used):
                for shard, share in _shares(list(self._window), missing):
                    missing -= self._draw(shard, share, pieces, used)
            # With nothing left but empty shards the epoch is over now, not one step later.
            if not self._window:
                self._fill_window(rows, used)
            self._open_ahead(rows)
        return pieces, tuple(used.values())

    def begun(self, cursor: Cursor) -> dict[ShardId, BegunShard]:
        """Where each of this rank's shards goes on that `cursor` has begun and not finished.

        `cursor` is the one that was given to `advanced` last, whatever was drawn since; then a
        stream from it and from these goes on exactly where it stands.
        """
        found: dict[ShardId, BegunShard] = {}
        if cursor.epoch != self._cursor.epoch:
            return found
        with self._lock:
            for shard in self._weights.keys() & cursor.taken.keys() - cursor.finished:
                if opened := self._tracked.get(shard):
                    found[shard] = opened.begun_at(cursor.taken[shard])
                elif earlier := self._earlier(shard):
                    found[shard] = earlier
        return found

    def advanced(self, cursor: Cursor) -> None:
        """What was drawn up to `cursor` is part of the parameters: what only an earlier cursor
        needs can go.
        """
        with self._lock:
            for shard, opened in list(self._tracked.items()):
                if shard in cursor.finished:
                    del self._tracked[shard]
                else:
                    opened.forget(cursor.taken.get(shard, 0))

    def close(self) -> None:
        """Ends all reading. The stream can't be used any more; safe to call twice."""
        for shard in [*self._window, *self._ahead]:
            shard.close()

    def _draw(
        self,
        shard: OpenShard,
        rows: int,
        pieces: list[Piece],
        used: dict[ShardId, Taken],
    ) -> int:
        drawn = 0
        while drawn < rows and (piece := shard.draw(rows - drawn)) is not None:
            pieces.append(piece)
            drawn += piece.end - piece.first
        if self._is_tracked and drawn:
            self._tracked[shard.shard] = shard
        finished = shard.exhausted
        if finished:
            self._window.remove(shard)
        before = used.get(shard.shard)
        total = drawn + (before.rows if before else 0)
        changed = shard.changed or (before is not None and before.changed)
        shard.changed = False
        used[shard.shard] = Taken(shard.shard, total, finished, changed)
        return drawn

    def _fill_window(self, rows: int, used: dict[ShardId, Taken]) -> bool:
        """Opens shards until `window` of them have rows; reports those that have none."""
        while len(self._window) < self._window_size:
            self._open_ahead(rows)
            if not self._ahead:
                break
            shard = self._ahead.popleft()
            self._ahead_rows -= self._estimate(shard.shard)
            if shard.exhausted:
                used[shard.shard] = Taken(shard.shard, 0, finished=True, changed=shard.changed)
            else:
                self._window.append(shard)
        return bool(self._window)

    def _open_ahead(self, rows: int) -> None:
        """Opens shards until a window and twice `rows` rows are under way."""
        while self._queue and len(self._ahead) < _MOST_AHEAD:
            if self._ahead_rows >= 2 * rows and len(self._ahead) >= self._window_size:
                break
            shard = self._queue.popleft()
            self._queued_rows -= self._estimate(shard)
            self._ahead_rows += self._estimate(shard)
            self._ahead.append(self._open(shard))

    def _open(self, shard: ShardId) -> OpenShard:
        begun = self._earlier(shard)
        return OpenShard(
            shard,
            self._reader_for(shard).open(shard, begun.block.first if begun else None),
            self._schema,
            order=self._cursor.order,
            epoch=self._cursor.epoch,
            taken=self._cursor.taken.get(shard, 0),
            begun=begun,
            tracked=self._is_tracked,
        )

    def _earlier(self, shard: ShardId) -> BegunShard | None:
        """Where the first cursor of this stream was in `shard`; None at its start."""
        block = self._cursor.blocks.get(shard)
        if block is None:
            if taken := self._cursor.taken.get(shard, 0):
                raise ValueError(f"the cursor has taken {taken} rows of {shard}, and no position")
            return None
        return BegunShard(block, self._digests.get(shard, NO_DIGESTS))

    def _estimate(self, shard: ShardId) -> int:
        return max(self._weights[shard] - self._cursor.taken.get(shard, 0), 0)

    def _left(self, shard: OpenShard) -> int:
        if shard.at_end:
            return shard.buffered
        return max(self._weights[shard.shard] - shard.taken, shard.buffered)


def _shares(window: list[OpenShard], rows: int) -> list[tuple[OpenShard, int]]:
    """`rows` as evenly as possible over the window, the first ones one more."""
    each, more = divmod(rows, len(window))
    shares = [(shard, each + (position < more)) for position, shard in enumerate(window)]
    return [(shard, share) for shard, share in shares if share]
