"""One table of one Ignite cluster, for control work; rows are read by reader.py.

Arrow is loaded only where rows or their types are asked for: the operator asks for neither, and
without Arrow it takes a quarter less memory.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from insitu.databases import DataSource, ReadLimits
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.cluster import weights
from insitu.databases.ignite.cluster.catalog import Table, find_table, has_sql
from insitu.databases.ignite.cluster.nodes import read_nodes
from insitu.databases.ignite.cluster.tables import ROW_BYTES, read_binary_type, read_layout
from insitu.databases.ignite.cluster.topology import read_topology
from insitu.databases.ignite.columns.layout import RowLayout
from insitu.databases.ignite.protocol.connection import CONTROL_BYTES, Connection
from insitu.databases.ignite.protocol.faults import ServerError
from insitu.errors import ConfigurationError, DatabaseUnavailable
from insitu.topology import DatabaseNode, Topology

if TYPE_CHECKING:
    import pyarrow as pa

    from insitu.databases.ignite.reading.reader import IgniteReader
    from insitu.databases.ignite.writing.entries import Layout
    from insitu.databases.ignite.writing.writer import IgniteWriter

T = TypeVar("T")


class IgniteDatabase:
    """`insitu.databases.Database` for Ignite. Thread-safe; control requests go one by one."""

    def __init__(self, source: DataSource) -> None:
        """Connects to nothing yet.

        Raises:
            ConfigurationError: `source` names no endpoint.
        """
        if not source.endpoints:
            raise ConfigurationError("no endpoint is given: name one Ignite node as host:port")
        self._source = source
        self._connection: Connection | None = None
        self._topology: Topology | None = None
        # Reentrant: a question may need a binary type, which is a question too.
        self._lock = threading.RLock()
        self._types = BinaryTypes(lambda number: self._ask(lambda c: read_binary_type(c, number)))

    def check(self) -> None:
        """See `insitu.databases.Database.check`. The operator asks this of many tables at once:
        a row of megabytes is not taken in, as `schema` does.
        """
        self._ask(lambda c: self._rows(c, CONTROL_BYTES))

    def schema(self) -> pa.Schema:
        return self._ask(self._rows)[1].schema

    def places(self) -> dict[str, tuple[str, ...]]:
        """Where in an entry each column lies: `("key",)`, or `("val", "NAME")` for a field."""
        part = {True: "key", False: "val"}
        return {
            column.name: (part[column.of_key], *([column.field] if column.field else []))
            for column in self._ask(self._rows)[1].columns
        }

    def topology(self) -> Topology:
        self._topology = self._ask(
            lambda c: read_topology(
                c, self._source.table, self._identify, self._open_any, self._topology
            )
        )
        return self._topology

    def count(self) -> int:
        return self._ask(lambda c: weights.count_rows(c, find_table(c, self._source.table)))

    def reader(self, node: DatabaseNode, limits: ReadLimits = ReadLimits()) -> IgniteReader:  # noqa: B008 - frozen
        from insitu.databases.ignite.reading.reader import IgniteReader

        table, layout = self._ask(self._rows)

        def connect() -> Connection:
            # A page may be larger than was asked for, by rows that are larger than those before.
            most = max(ROW_BYTES, limits.buffer_bytes)
            return self._open(node.host, node.port, limits.timeout_seconds, most)

        return IgniteReader(node, table, layout, self._types, connect, limits)

    def writer(
        self, schema: pa.Schema, *, key: Sequence[str], options: Mapping[str, str] | None = None
    ) -> IgniteWriter:
        from insitu.databases.ignite.writing import ddl
        from insitu.databases.ignite.writing.writer import IgniteWriter

        def prepare(connection: Connection) -> tuple[Table, Layout, list[DatabaseNode]]:
            table, layout = ddl.prepare(connection, self._source.table, schema, key, options or {})
            servers = read_nodes(connection, self._identify, with_sql=has_sql(connection))
            return table, layout, [server.node for server in servers]

        table, layout, nodes = self._ask(prepare)
        return IgniteWriter(table, layout, schema, self._each_in_turn(nodes))

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _each_in_turn(self, nodes: Sequence[DatabaseNode]) -> Callable[[], Connection]:
        turn = itertools.count()

        def connect() -> Connection:
            node = nodes[next(turn) % len(nodes)]
            return self._open(node.host, node.port)

        return connect

    def _rows(self, connection: Connection, row_bytes: int = ROW_BYTES) -> tuple[Table, RowLayout]:
        table = find_table(connection, self._source.table)
        layout = read_layout(
            connection, table, self._types, lambda: self._others(connection, table), row_bytes
        )
        return table, layout.select(self._source.columns)

    def _others(self, connection: Connection, table: Table) -> Iterator[Connection]:
        """Connections to the other nodes, as far as those can be reached."""
        for server in read_nodes(connection, self._identify, with_sql=table.sql is not None):
            if server.run != connection.node:
                with suppress(DatabaseUnavailable):
                    other = self._open(server.node.host, server.node.port)
                    with other:
                        yield other

    def _ask(self, question: Callable[[Connection], T]) -> T:
        """Asks over the open connection, or over a new one when that has died meanwhile."""
        with self._lock:
            if self._connection is not None:
                try:
                    return self._ask_over(self._connection, question)
                except DatabaseUnavailable as error:
                    if isinstance(error.__cause__, ServerError):
                        raise  # it answered: asking again would make it do the same again
            self._connection = self._open_any()
            return self._ask_over(self._connection, question)

    def _ask_over(self, connection: Connection, question: Callable[[Connection], T]) -> T:
        try:
            return question(connection)
        except ServerError as error:
            self._drop()
            raise DatabaseUnavailable(str(error)) from error
        except BaseException:
            # A reply may still be under way.
            self._drop()
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open_any(self) -> Connection:
        failures = []
        for host, port in self._source.endpoints:
            try:
                return self._open(host, port)
            except DatabaseUnavailable as error:
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        raise DatabaseUnavailable(
            "no Ignite endpoint answers:\n" + "\n".join(f"  {failure}" for failure in failures)
        )

    def _open(
        self, host: str, port: int, timeout: float = 30.0, limit: int = CONTROL_BYTES
    ) -> Connection:
        source = self._source
        return Connection.open(
            host,
            port,
            credentials=source.credentials,
            tls=source.tls,
            timeout=timeout,
            limit=limit,
        )

    def _identify(self, host: str, port: int) -> UUID:
        with self._open(host, port) as connection:
            return connection.node
