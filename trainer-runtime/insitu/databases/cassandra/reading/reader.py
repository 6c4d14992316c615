"""Ranges of tokens of one Cassandra table, read from exactly one node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from insitu.databases import ReadCounters, ReadLimits, RowKeys, RowPosition
from insitu.databases.budget import Budget
from insitu.databases.cassandra.columns.cells import KeyCells
from insitu.databases.cassandra.columns.quick import batch_of, batches_of
from insitu.databases.cassandra.columns.rows import locate
from insitu.databases.cassandra.columns.types import Column, arrow_schema
from insitu.databases.cassandra.packing import Repeated, sample_counts, unpack
from insitu.databases.cassandra.protocol.connection import Connection
from insitu.databases.cassandra.protocol.messages import Consistency
from insitu.databases.cassandra.ranges import TokenRange, parse_range
from insitu.databases.cassandra.reading.fetch import Fetcher
from insitu.databases.cassandra.reading.pages import first_size, page_limit
from insitu.databases.cassandra.reading.scan import Scan
from insitu.databases.cassandra.reading.statement import Select
from insitu.databases.cassandra.reading.tokens import Keys, Mark, Tokens
from insitu.errors import DatabaseUnavailable, DataChanged
from insitu.topology import DatabaseNode, ShardId

_WHO = "SELECT host_id FROM system.local WHERE key = 'local'"


class CassandraReader:
    """`insitu.databases.Reader` for one Cassandra node. Thread-safe.

    Every connection is checked to lead to that very node, which coordinates all reads. Whether it
    also takes the rows from its own disk is the server's choice, unless `consistency` says so.
    """

    def __init__(
        self,
        node: DatabaseNode,
        select: Select,
        connect: Callable[[], Connection],
        limits: ReadLimits,
        consistency: Consistency = Consistency.LOCAL_ONE,
    ) -> None:
        """Connects at once.

        Args:
            node: the only node to read from.
            select: which rows of which table.
            connect: opens a connection to `node`'s address.
            limits: how much to ask for at once.
            consistency: whose copy may be read.

        Raises:
            DatabaseUnavailable: nothing answers there, or another node than `node`.
            Refused: the table, a column or the condition is not what the server knows.
            AuthenticationError: the role may not read the table.
        """
        self.counters = ReadCounters()
        self._node = node
        self._select = select
        self._connect = connect
        first = self._open()
        try:
            self._prepared = first.prepare(select.cql)
        except BaseException:
            first.close()
            raise
        limit = page_limit(limits.page_bytes, limits.buffer_bytes, limits.connections)
        self._fetcher = Fetcher(
            first,
            self._open,
            self._prepare_again,
            self._prepared,
            connections=limits.connections,
            consistency=consistency,
            size=first_size(limit, self._prepared.columns),
            budget=Budget(limits.buffer_bytes, limit, limits.connections),
            timeout=limits.timeout_seconds,
            counters=self.counters,
        )

    @property
    def schema(self) -> pa.Schema:
        if self._select.packing is not None:
            return self._select.packing.schema
        return arrow_schema(self._prepared.columns[: len(self._select.columns)])

    def open(self, shard: ShardId, start: RowPosition | None = None) -> CassandraStream:
        """See `insitu.databases.Reader.open`; a shard is a range of tokens, `start:end`."""
        tokens: TokenRange | None = parse_range(shard)
        mark = None if start is None else Mark.of(start)
        if mark is not None:
            tokens = _from(parse_range(shard), mark.number)
        scan = self._fetcher.open(tokens) if tokens is not None else None
        columns, select = self._prepared.columns, self._select
        return CassandraStream(self._fetcher, scan, columns, select, mark)

    def close(self) -> None:
        self._fetcher.close()

    def _open(self) -> Connection:
        connection = self._connect()
        try:
            found = str(connection.query(_WHO).column(0)[0].as_py())
        except BaseException:
            connection.close()
            raise
        if found != self._node.id:
            connection.close()
            raise DatabaseUnavailable(
                f"at {connection.where} answers Cassandra node {found}, not {self._node.id} that "
                "was to be read: the address has changed hands"
            )
        return connection

    def _prepare_again(self, connection: Connection) -> None:
        if connection.prepare(self._select.cql).columns != self._prepared.columns:
            raise DataChanged(
                f"the columns of {self._select.keyspace}.{self._select.table} were altered while "
                "it was read: start the job anew"
            )


class CassandraStream:
    """`insitu.databases.ShardStream` of one range; see `CassandraReader.open`."""

    def __init__(
        self,
        fetcher: Fetcher,
        scan: Scan | None,
        columns: Sequence[Column],
        select: Select,
        start: Mark | None,
    ) -> None:
        """`scan` None has no rows; of any other the rows before `start` are left out."""
        self._fetcher = fetcher
        self._scan = scan
        self._columns = columns
        self._wanted = len(select.stored)
        self._packing = select.packing
        self._key = select.key_places
        self._start = start
        self._passed = 0
        # The page that was handed out last, and which of its rows is the batch's first.
        self._tokens: Tokens | None = None
        self._first = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        last: Mark | None = None
        while self._scan is not None and (page := self._fetcher.take(self._scan)) is not None:
            cells = locate(page, self._columns)
            stored = self._columns[: self._wanted], cells[: self._wanted]
            key: list[KeyCells] = [cells[place] for place in self._key]
            samples, count = None, page.count
            if self._packing is not None:
                rows = batch_of(*stored)
                samples, counts = unpack(self._packing, rows), sample_counts(rows)
                key, count = [Repeated(each, counts) for each in key], samples.num_rows
                if not count:
                    continue
            tokens = Tokens(key, count, last)
            last = tokens.mark(count - 1)
            dropped = self._before_start(tokens)
            self._fetcher.count(count - dropped)
            if dropped < count:
                self._tokens = tokens
                batches = batches_of(*stored) if samples is None else [samples]
                for self._first, batch in _after(dropped, batches):
                    yield batch

    def keys(self) -> RowKeys:
        """See `insitu.databases.ShardStream.keys`."""
        assert self._tokens is not None, "no batch was given yet"
        return Keys(self._tokens, self._first)

    def close(self) -> None:
        if self._scan is not None:
            self._fetcher.drop(self._scan)

    def _before_start(self, tokens: Tokens) -> int:
        """How many rows of a page are left out."""
        if self._start is None:
            return 0
        dropped = tokens.reaching(self._start, self._passed)
        self._passed += dropped
        return dropped


def _after(dropped: int, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """What is left after the first `dropped` rows, each with the number of its first row."""
    start = 0
    for batch in batches:
        end = start + batch.num_rows
        if (first := max(start, dropped)) < end:
            yield first, batch.slice(first - start)
        start = end


def _from(tokens: TokenRange, token: int) -> TokenRange | None:
    """The part of `tokens` from `token` on."""
    if token <= tokens.start:
        return tokens
    return tokens.common(TokenRange(token - 1, tokens.end)) if token <= tokens.end else None
