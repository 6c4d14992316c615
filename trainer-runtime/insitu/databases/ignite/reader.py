"""Partitions of one Ignite table, read from exactly one node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pyarrow as pa

from insitu.databases import ReadCounters, ReadLimits
from insitu.databases.ignite import sql
from insitu.databases.ignite.arrow import rows_to_batch
from insitu.databases.ignite.binary import read_rows
from insitu.databases.ignite.budget import Budget
from insitu.databases.ignite.catalog import Table, has_sql
from insitu.databases.ignite.columns import quick_batch
from insitu.databases.ignite.fetch import Fetcher, Scan
from insitu.databases.ignite.layout import RowLayout
from insitu.databases.ignite.metadata import BinaryTypes
from insitu.databases.ignite.nodes import read_nodes
from insitu.databases.ignite.pages import Page, PageSize, page_limit
from insitu.databases.ignite.wire import Connection
from insitu.errors import ConfigurationError, DatabaseUnavailable
from insitu.topology import DatabaseNode, NodeId, ShardId


class IgniteReader:
    """`insitu.databases.Reader` for one Ignite node. Thread-safe.

    Every connection is checked to lead to that very node, and every scan is one that the node may
    only answer from its own copy, so a row that comes out has not crossed to another node.
    """

    def __init__(
        self,
        node: DatabaseNode,
        table: Table,
        layout: RowLayout,
        types: BinaryTypes,
        connect: Callable[[], Connection],
        limits: ReadLimits,
    ) -> None:
        """Connects at once.

        Args:
            node: the only node to read from.
            table: the table to read.
            layout: its columns, the ones wanted.
            types: binary types of the cluster.
            connect: opens a connection to `node`'s address.
            limits: how much to ask for at once.

        Raises:
            DatabaseUnavailable: nothing answers there, or another node than `node`.
        """
        self.counters = ReadCounters()
        self._layout = layout
        self._types = types
        self._node = node
        self._connect = connect
        first = self._open()
        limit = page_limit(
            limits.page_bytes, limits.buffer_bytes, limits.connections, self._heap_bytes
        )
        self._fetcher = Fetcher(
            table.cache_id,
            first,
            self._open,
            connections=limits.connections,
            heap=self._heap_bytes,
            size=PageSize(limit),
            budget=Budget(limits.buffer_bytes, limit),
            counters=self.counters,
        )

    @property
    def schema(self) -> pa.Schema:
        return self._layout.schema

    def open(self, shard: ShardId, skip: int = 0) -> IgniteStream:
        """See `insitu.databases.Reader.open`; a shard is the number of a partition."""
        if not shard.isdecimal():
            raise ConfigurationError(f"an Ignite shard is a partition's number, not '{shard}'")
        return IgniteStream(self._fetcher, self._fetcher.open(int(shard), skip), self._decode)

    def close(self) -> None:
        self._fetcher.close()

    def _open(self) -> Connection:
        connection = self._connect()
        try:
            name, self._heap_bytes = _server(connection)
        except BaseException:
            connection.close()
            raise
        if name != self._node.id:
            connection.close()
            raise DatabaseUnavailable(
                f"at {connection.where} answers Ignite node '{name}', not '{self._node.id}' that "
                "was to be read: the address has changed hands"
            )
        return connection

    def _decode(self, page: Page) -> pa.RecordBatch:
        quick = quick_batch(page.data, page.start, page.count, self._layout, self._types)
        if quick is not None:
            return quick
        rows, _ = read_rows(page.data, page.start, page.count, self._types)
        return rows_to_batch(rows, self._layout)


class IgniteStream:
    """`insitu.databases.ShardStream` of one partition; see `IgniteReader.open`."""

    def __init__(
        self, fetcher: Fetcher, scan: Scan, decode: Callable[[Page], pa.RecordBatch]
    ) -> None:
        self._fetcher = fetcher
        self._scan = scan
        self._decode = decode

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (arrived := self._fetcher.take(self._scan)) is not None:
            yield self._decode(arrived.page).slice(arrived.drop)

    def close(self) -> None:
        self._fetcher.drop(self._scan)


def _server(connection: Connection) -> tuple[NodeId, int | None]:
    """Name of the node behind `connection`, and its largest heap in bytes where it tells."""
    if not has_sql(connection):
        nodes = read_nodes(connection, _not_asked, with_sql=False)
        return next(each.node.id for each in nodes if each.run == connection.node), None
    [(name, heap)] = sql.system_view(
        connection,
        "SELECT N.CONSISTENT_ID, M.HEAP_MEMORY_MAX FROM SYS.NODES N "  # noqa: S608 - a UUID
        "LEFT JOIN SYS.NODE_METRICS M ON M.NODE_ID = N.NODE_ID "
        f"WHERE N.NODE_ID = '{connection.node}'",
    )
    return NodeId(str(name)), heap


def _not_asked(host: str, port: int) -> UUID:
    """Stands for looking up addresses, of which none is needed here."""
    raise DatabaseUnavailable(f"{host}:{port} is not asked")
