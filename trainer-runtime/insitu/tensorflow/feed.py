"""One rank's rows in large blocks, for TensorFlow to cut into batches; none of it in here.

A call from TensorFlow into Python costs as much as copying some hundred rows, so a block is many
batches. Every pass opens the database anew and closes it at its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple
from types import MappingProxyType

import pyarrow as pa

from insitu.contract import Assignment
from insitu.data.cursor import Cursor, Digests, Taken
from insitu.data.gather import Piece, gather
from insitu.data.order import Order
from insitu.data.stream import RankStream
from insitu.databases import Database, DataSource, Reader, ReadLimits, ShardStream
from insitu.session.locality import LocalFirst, Share
from insitu.topology import Shard, ShardId

_BLOCK_ROWS = 16_384
_BLOCK_BYTES = 16 << 20
_SAMPLED_SHARDS = 3
_SHARDS_AHEAD = 16

Handed = Callable[[tuple[Taken, ...]], None]


class Feed:
    """The shards of an assignment as blocks of rows.

    Args:
        assignment: Which shards, and where to read them.
        open_database: Connects to a data source.

    Attributes:
        schema: Of every block.
        sample: First rows of one of the largest shards; None where those are empty.
    """

    def __init__(
        self, assignment: Assignment, open_database: Callable[[DataSource], Database]
    ) -> None:
        self._assignment = assignment
        self._open = open_database
        self._limits = ReadLimits()
        self._before = Share()
        self._now: LocalFirst | None = None
        with self._reader() as reader:
            self.schema: pa.Schema = reader.schema
            self.sample = _sample(reader, assignment.shards)
        if assignment.page_rows:
            self._limits = ReadLimits(page_bytes=max(1, int(assignment.page_rows * self.row_bytes)))

    @property
    def row_bytes(self) -> float:
        """The size of a row in memory; 1 where none was seen."""
        return self.sample.nbytes / self.sample.num_rows if self.sample else 1.0

    @property
    def share(self) -> Share:
        """What was read so far, in all passes, by where it came from."""
        return self._before if self._now is None else _sum(self._before, self._now.share)

    def start(self, epoch: int, seed: int) -> Cursor:
        """The start of an epoch, in the order a session takes for such rows."""
        return Cursor(epoch=epoch, order=Order.sized(seed, self.row_bytes))

    def pages(self) -> Iterator[pa.RecordBatch]:
        """All rows as the database has them: shard after shard, each in its stable order."""
        with self._reader() as reader:
            yield from _in_turn(reader, self._assignment.shards)

    def scan(self) -> Iterator[pa.RecordBatch]:
        """The rows of `pages`, in blocks."""
        pieces: list[pa.RecordBatch] = []
        rows = 0
        for page in self.pages():
            pieces.append(page)
            rows += page.num_rows
            if rows >= self._most_rows:
                yield _joined(pieces)
                pieces, rows = [], 0
        if rows:
            yield _joined(pieces)

    def blocks(
        self,
        cursor: Cursor,
        batch_rows: int,
        handed: Handed = lambda _taken: None,
        *,
        digests: Mapping[ShardId, Digests] = MappingProxyType({}),
        opened: Callable[[RankStream], None] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The rest of the cursor's epoch: blocks of whole batches, but for the last one.

        `handed` hears what each batch takes of which shards, before its block is handed out.
        `opened`, where it is given, hears which stream they come from, and tells it how far the
        training is. For `digests` see `RankStream`.
        """
        with self._reader() as reader:
            stream = RankStream(
                self._assignment.shards,
                cursor,
                lambda _shard: reader,
                self.schema,
                digests=digests,
                tracked=opened is not None,
            )
            if opened is not None:
                opened(stream)
            most_rows = self._most_rows
            with closing(stream):
                pieces: list[Piece] = []
                rows = 0
                while not stream.dry:
                    drawn, taken = stream.draw(batch_rows)
                    if drawn:
                        pieces += drawn
                        rows += batch_rows
                        handed(taken)
                    if rows >= most_rows:
                        yield gather(pieces, self.schema)
                        pieces, rows = [], 0
                if pieces:
                    yield gather(pieces, self.schema)

    @property
    def _most_rows(self) -> int:
        return max(1, min(_BLOCK_ROWS, int(_BLOCK_BYTES / self.row_bytes)))

    @contextmanager
    def _reader(self) -> Iterator[LocalFirst]:
        with closing(self._open(self._assignment.source)) as database:
            first = LocalFirst(self._assignment, lambda node: database.reader(node, self._limits))
            with closing(first) as reader:
                self._now = reader
                try:
                    yield reader
                finally:
                    self._before, self._now = self.share, None


def _sum(one: Share, other: Share) -> Share:
    return Share(*map(sum, zip(astuple(one), astuple(other), strict=True)))


def _sample(reader: Reader, shards: Sequence[Shard]) -> pa.RecordBatch | None:
    largest = sorted(shards, key=lambda shard: (-shard.weight, shard.id))
    for shard in largest[:_SAMPLED_SHARDS]:
        with closing(reader.open(shard.id)) as stream:
            for batch in stream:
                if batch.num_rows:
                    return batch
    return None


def _in_turn(reader: Reader, shards: Sequence[Shard]) -> Iterator[pa.RecordBatch]:
    """Shards one after the other; some are opened ahead, for that starts their reading."""
    waiting = deque(shards)
    ahead: deque[ShardStream] = deque()
    try:
        while waiting or ahead:
            while waiting and len(ahead) < _SHARDS_AHEAD:
                ahead.append(reader.open(waiting.popleft().id))
            yield from ahead[0]
            ahead.popleft().close()
    finally:
        for stream in ahead:
            stream.close()


def _joined(pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
