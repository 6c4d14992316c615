"""Tables in memory, readers over them, and what tests say about shards in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import uuid4

import pyarrow as pa

from insitu.checkpoint import Commit, CommitLog, Store, Writer, open_store, write_part
from insitu.checkpoint.store import Buffer, StoredObject
from insitu.data import Cursor, RankStream, Taken
from insitu.data.cursor import Digests
from insitu.data.identity import Origin
from insitu.databases import ReadCounters, Reader, RowKeys, RowPosition
from insitu.topology import NodeId, Shard, ShardId
from tests.keys import NumberKeys

IDS = pa.schema({"id": pa.int64()})


def shards_of(*rows: int, owner: str = "n0") -> dict[ShardId, list[int]]:
    """A table of as many shards as numbers: shard "0" has ids 0, 1, ...; ids are unique."""
    table: dict[ShardId, list[int]] = {}
    start = 0
    for number, count in enumerate(rows):
        table[ShardId(str(number))] = list(range(start, start + count))
        start += count
    return table


def shards(table: Mapping[ShardId, Sequence[int]], estimate: int | None = None) -> list[Shard]:
    """The table's shards with counted weights, or all with the same estimate."""
    owners = (NodeId("n0"),)
    return [
        Shard(shard, owners, len(rows) if estimate is None else estimate)
        for shard, rows in table.items()
    ]


@dataclass
class MemoryStream:
    """Pages of `page_rows` rows; remembers that it was closed. Rows lie in the order of their ids,
    whatever is inserted or deleted while they are read.
    """

    ids: Sequence[int]
    page_rows: int
    start: RowPosition | None = None
    page: Sequence[int] = ()
    closed: bool = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        ahead = lambda row: self.start is None or row >= self.start.number  # noqa: E731
        while page := sorted(filter(ahead, self.ids))[: self.page_rows]:
            self.page = page
            ahead = page[-1].__lt__
            yield pa.RecordBatch.from_arrays([pa.array(page, pa.int64())], schema=IDS)

    def keys(self) -> RowKeys:
        return NumberKeys(self.page)

    def close(self) -> None:
        self.closed = True


@dataclass
class MemoryReader:
    """A `Reader` over a table of ids."""

    table: Mapping[ShardId, Sequence[int]]
    page_rows: int = 3
    counters: ReadCounters = field(default_factory=ReadCounters)
    opened: list[MemoryStream] = field(default_factory=list)

    @property
    def schema(self) -> pa.Schema:
        return IDS

    def open(self, shard: ShardId, start: RowPosition | None = None) -> MemoryStream:
        stream = MemoryStream(self.table[shard], self.page_rows, start)
        self.opened.append(stream)
        return stream

    def close(self) -> None:
        for stream in self.opened:
            stream.close()


def rank_stream(
    table: Mapping[ShardId, Sequence[int]],
    cursor: Cursor | None = None,
    *,
    mine: Sequence[ShardId] | None = None,
    page_rows: int = 3,
    window: int = 4,
    estimate: int | None = None,
    digests: Mapping[ShardId, Digests] = MappingProxyType({}),
    tracked: bool = False,
) -> RankStream:
    """A stream of all shards of `table`, or of `mine`."""
    reader: Reader = MemoryReader(table, page_rows)
    own = {shard: table[shard] for shard in (table if mine is None else mine)}
    reader_for: Callable[[ShardId], Reader] = lambda _shard: reader  # noqa: E731
    return RankStream(
        shards(own, estimate),
        Cursor() if cursor is None else cursor,
        reader_for,
        IDS,
        digests=digests,
        window=window,
        tracked=tracked,
    )


def ids(batch: pa.RecordBatch) -> list[int]:
    """The ids of a batch, in its order."""
    column: list[int] = batch.column("id").to_pylist()
    return column


def drain(stream: RankStream, batch: int) -> tuple[list[list[int]], list[Taken]]:
    """All batches of `batch` rows to the end, and everything that was used."""
    batches: list[list[int]] = []
    used: list[Taken] = []
    while not stream.dry:
        rows, taken = stream.take(batch)
        batches.append(ids(rows))
        used.extend(taken)
    return batches, used


def resumed(stream: RankStream, cursor: Cursor) -> tuple[Cursor, dict[ShardId, Digests]]:
    """What a commit of `cursor` keeps: where its shards go on, and what was taken of them."""
    begun = stream.begun(cursor)
    blocks = {shard: block for shard, (block, _) in begun.items()}
    return replace(cursor, blocks=blocks), {shard: taken for shard, (_, taken) in begun.items()}


@dataclass
class Interrupted:
    """A `Store` that lets something else happen before each of its operations, and remembers them
    in `asked`, as in `put a/b`.
    """

    inner: Store
    between: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.inner.url

    def put(self, name: str, buffers: Sequence[Buffer]) -> None:
        self.between()
        self.asked.append(f"put {name}")
        self.inner.put(name, buffers)

    def create_if_absent(self, name: str, data: bytes) -> bool:
        self.between()
        self.asked.append(f"create_if_absent {name}")
        return self.inner.create_if_absent(name, data)

    def get(self, name: str) -> memoryview | None:
        self.between()
        self.asked.append(f"get {name}")
        return self.inner.get(name)

    def list(self, prefix: str, after: str | None = None) -> list[StoredObject]:
        self.between()
        self.asked.append(f"list {prefix}")
        return self.inner.list(prefix, after)

    def delete(self, names: Iterable[str]) -> None:
        self.between()
        names = list(names)
        self.asked.append(f"delete {len(names)}")
        self.inner.delete(names)

    def remove_leftovers(self, prefix: str, abandoned: Callable[[str], bool]) -> None:
        self.between()
        self.inner.remove_leftovers(prefix, abandoned)


JOB = "digits"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def log_in_memory(store: Store | None = None) -> CommitLog:
    """An empty log in a store of its own."""
    return CommitLog(store or open_store("memory:///"), JOB)


def fenced(log: CommitLog, generation: int, run: str = "") -> Writer:
    """The writer of a new generation."""
    return log.fence(generation, writer=str(uuid4()), time=NOON, origin=Origin(run))


def commit(writer: Writer, step: int, *payloads: bytes, parent: int | None = None) -> Commit:
    """A commit of `step` with a part for each payload."""
    parts = [
        write_part(
            writer.log.store,
            writer.log.job,
            fence=writer.fence.seq,
            step=step,
            rank=rank,
            unique=str(uuid4()),
            buffers=[payload],
        )
        for rank, payload in enumerate(payloads)
    ]
    cursor = Cursor(step=step)
    return writer.commit(cursor, parts, world_size=len(parts), time=NOON, parent=parent)
