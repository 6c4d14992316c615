"""Ranges of tokens of one Cassandra table, read from exactly one node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from insitu.databases import ReadCounters, ReadLimits, RowPosition
from insitu.databases.budget import Budget
from insitu.databases.cassandra.columns.quick import batch_of, batches_of
from insitu.databases.cassandra.columns.rows import locate
from insitu.databases.cassandra.columns.types import Column, arrow_schema
from insitu.databases.cassandra.packing import sample_counts, unpack
from insitu.databases.cassandra.protocol.connection import Connection
from insitu.databases.cassandra.protocol.faults import Refused
from insitu.databases.cassandra.protocol.messages import Consistency
from insitu.databases.cassandra.protocol.results import Prepared
from insitu.databases.cassandra.ranges import parse_range
from insitu.databases.cassandra.reading.fetch import Fetcher
from insitu.databases.cassandra.reading.keys import (
    BatchKeys,
    ClusteringColumn,
    KeyShape,
    PageKeys,
    RowKey,
    parse_key,
)
from insitu.databases.cassandra.reading.pages import first_size, page_limit
from insitu.databases.cassandra.reading.shard_pages import ShardPages
from insitu.databases.cassandra.reading.statement import Select
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
            self._statements = {select.cql: self._prepared, **_continuing(first, select)}
        except BaseException:
            first.close()
            raise
        self._shape = _shape(select, self._prepared.columns)
        limit = page_limit(limits.page_bytes, limits.buffer_bytes, limits.connections)
        self._fetcher = Fetcher(
            first,
            self._open,
            self._prepare_again,
            self._statements,
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
        tokens, select, columns = parse_range(shard), self._select, self._prepared.columns
        begin = None if start is None else parse_key(self._shape, start)
        inside = begin is not None and self._shape.can_bound(begin)
        known = self._statements.get(select.partitions_cql) if inside else None
        partition_key = () if known is None else known.columns
        pages = ShardPages(self._fetcher, select, tokens, begin, partition_key)
        return CassandraStream(pages, self._fetcher.count, columns, select, self._shape, begin)

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
        for cql, known in self._statements.items():
            if connection.prepare(cql).columns != known.columns:
                raise DataChanged(
                    f"the columns of {self._select.keyspace}.{self._select.table} were altered "
                    "while it was read: start the job anew"
                )


class CassandraStream:
    """`insitu.databases.ShardStream` of one range; see `CassandraReader.open`."""

    def __init__(
        self,
        pages: ShardPages,
        count: Callable[[int], None],
        columns: Sequence[Column],
        select: Select,
        shape: KeyShape,
        start: RowKey | None,
    ) -> None:
        """`count` hears of rows that are handed out; those before `start` are left out."""
        self._pages = pages
        self._count = count
        self._columns = columns
        self._wanted = len(select.stored)
        self._packing = select.packing
        self._key = (*select.key_places, *select.clustering_places)
        self._shape = shape
        self._start = start
        self._keys: BatchKeys | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for page in self._pages:
            cells = locate(page, self._columns)
            stored = self._columns[: self._wanted], cells[: self._wanted]
            samples, counts = None, None
            if self._packing is not None:
                rows = batch_of(*stored)
                samples, counts = unpack(self._packing, rows), sample_counts(rows)
            key = [cells[place] for place in self._key]
            keys = PageKeys(self._shape, key, page.count, counts)
            dropped = self._before_start(keys)
            self._count(len(keys) - dropped)
            if dropped < len(keys):
                batches = batches_of(*stored) if samples is None else [samples]
                for first, batch in _after(dropped, batches):
                    self._keys = BatchKeys(keys, first, batch.num_rows)
                    yield batch

    def keys(self) -> BatchKeys:
        """See `insitu.databases.ShardStream.keys`."""
        assert self._keys is not None, "no batch was given yet"
        return self._keys

    def close(self) -> None:
        self._pages.close()

    def _before_start(self, keys: PageKeys) -> int:
        """How many rows of a page are left out."""
        if self._start is None:
            return 0
        dropped = keys.before(self._start)
        if dropped < len(keys):
            self._start = None
        return dropped


def _after(dropped: int, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """What is left after the first `dropped` rows, each with the number of its first row."""
    start = 0
    for batch in batches:
        end = start + batch.num_rows
        if (first := max(start, dropped)) < end:
            yield first, batch.slice(first - start)
        start = end


def _continuing(connection: Connection, select: Select) -> Mapping[str, Prepared]:
    """The statements that go on inside of a partition, by their CQL.

    None where the server refuses them, as it does where the job's own condition is on the same
    columns: such partitions are read again from their start.
    """
    try:
        return {cql: connection.prepare(cql) for cql in select.continuing}
    except Refused:
        return {}


def _shape(select: Select, columns: Sequence[Column]) -> KeyShape:
    clustering = tuple(
        ClusteringColumn(columns[place].type, column.descending)
        for place, column in zip(select.clustering_places, select.clustering, strict=True)
    )
    return KeyShape(len(select.key), clustering, packed=select.packing is not None)
