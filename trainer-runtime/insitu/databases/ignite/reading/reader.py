"""Partitions of one Ignite table, read from exactly one node."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from insitu.databases import KeysAfter, ReadCounters, ReadLimits, RowKeys, RowPosition
from insitu.databases.budget import Budget
from insitu.databases.ignite.binary.decode import read_rows
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.cluster.catalog import Table
from insitu.databases.ignite.cluster.server import Server, usual_rows, who_is
from insitu.databases.ignite.columns.arrow import rows_to_batch
from insitu.databases.ignite.columns.layout import RowLayout
from insitu.databases.ignite.columns.quick import quick_batch
from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.protocol.faults import ServerError
from insitu.databases.ignite.reading.cursors import Cursors
from insitu.databases.ignite.reading.fetch import Fetcher
from insitu.databases.ignite.reading.keys import EntryKeys
from insitu.databases.ignite.reading.pages import Page, PageSize, page_limit
from insitu.databases.ignite.reading.scan import Arrived, Scan
from insitu.errors import ConfigurationError, DatabaseUnavailable
from insitu.topology import DatabaseNode, ShardId


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
        first, server = self._open()
        try:
            rows = usual_rows(first, table)
        except ServerError as error:
            first.close()
            raise DatabaseUnavailable(str(error)) from error
        except BaseException:
            first.close()
            raise
        limit = page_limit(limits.page_bytes, limits.buffer_bytes, limits.connections, server.heap)
        self._fetcher = Fetcher(
            table.cache_id,
            first,
            lambda: self._open()[0],
            connections=limits.connections,
            cursors=Cursors(limits.connections, server.heap, rows),
            size=PageSize(limit),
            budget=Budget(limits.buffer_bytes, limit, limits.connections),
            counters=self.counters,
            keys=self._keys,
        )

    @property
    def schema(self) -> pa.Schema:
        return self._layout.schema

    def open(self, shard: ShardId, start: RowPosition | None = None) -> IgniteStream:
        """See `insitu.databases.Reader.open`; a shard is the number of a partition.

        The server can't begin a scan in the middle of a partition: rows before `start` are read
        and left out undecoded.
        """
        if not shard.isdecimal():
            raise ConfigurationError(f"an Ignite shard is a partition's number, not '{shard}'")
        scan = self._fetcher.open(int(shard), start)
        return IgniteStream(self._fetcher, scan, self._decode, self._keys)

    def close(self) -> None:
        self._fetcher.close()

    def _open(self) -> tuple[Connection, Server]:
        connection = self._connect()
        try:
            server = who_is(connection)
        except ServerError as error:
            connection.close()
            raise DatabaseUnavailable(str(error)) from error
        except BaseException:
            connection.close()
            raise
        if server.name != self._node.id:
            connection.close()
            raise DatabaseUnavailable(
                f"at {connection.where} answers Ignite node '{server.name}', not "
                f"'{self._node.id}' that was to be read: the address has changed hands"
            )
        return connection, server

    def _keys(self, page: Page) -> EntryKeys:
        return EntryKeys(page, self._types)

    def _decode(self, page: Page) -> pa.RecordBatch:
        quick = quick_batch(page.data, page.start, page.count, self._layout, self._types)
        if quick is not None:
            return quick
        rows, _ = read_rows(page.data, page.start, page.count, self._types)
        return rows_to_batch(rows, self._layout)


class IgniteStream:
    """`insitu.databases.ShardStream` of one partition; see `IgniteReader.open`."""

    def __init__(
        self,
        fetcher: Fetcher,
        scan: Scan,
        decode: Callable[[Page], pa.RecordBatch],
        keys: Callable[[Page], EntryKeys],
    ) -> None:
        self._fetcher = fetcher
        self._scan = scan
        self._decode = decode
        self._keys = keys
        self._arrived: Arrived | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (arrived := self._fetcher.take(self._scan)) is not None:
            self._arrived = arrived
            yield self._decode(arrived.page).slice(arrived.drop)

    def keys(self) -> RowKeys:
        assert self._arrived is not None, "no batch was given yet"
        return KeysAfter(self._keys(self._arrived.page), self._arrived.drop)

    def close(self) -> None:
        self._fetcher.drop(self._scan)
