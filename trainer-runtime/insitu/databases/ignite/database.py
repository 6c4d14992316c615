"""One table of one Ignite cluster, for control work; rows are read by reader.py."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

import pyarrow as pa

from insitu.databases import DataSource
from insitu.databases.ignite import ddl, weights
from insitu.databases.ignite.catalog import find_table, has_sql
from insitu.databases.ignite.nodes import read_nodes
from insitu.databases.ignite.topology import read_topology
from insitu.databases.ignite.wire import Connection
from insitu.databases.ignite.writer import IgniteWriter
from insitu.errors import ConfigurationError, DatabaseUnavailable
from insitu.topology import DatabaseNode, Topology


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
        self._lock = threading.Lock()

    def topology(self) -> Topology:
        with self._control() as connection:
            return read_topology(connection, self._source.table, self._identify)

    def count(self) -> int:
        with self._control() as connection:
            return weights.count_rows(connection, find_table(connection, self._source.table))

    def writer(
        self, schema: pa.Schema, *, key: Sequence[str], options: Mapping[str, str] | None = None
    ) -> IgniteWriter:
        with self._control() as connection:
            table, layout = ddl.prepare(connection, self._source.table, schema, key, options or {})
            servers = read_nodes(connection, self._identify, with_sql=has_sql(connection))
        nodes = [server.node for server in servers]
        return IgniteWriter(table, layout, schema, self._each_in_turn(nodes))

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _each_in_turn(self, nodes: Sequence[DatabaseNode]) -> Callable[[], Connection]:
        turn = itertools.count()

        def connect() -> Connection:
            node = nodes[next(turn) % len(nodes)]
            return self._open(node.host, node.port)

        return connect

    @contextmanager
    def _control(self) -> Iterator[Connection]:
        """The connection for control work, opened again after it broke."""
        with self._lock:
            if self._connection is None:
                self._connection = self._open_any()
            try:
                yield self._connection
            except DatabaseUnavailable:
                self._connection.close()
                self._connection = None
                raise

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

    def _open(self, host: str, port: int) -> Connection:
        return Connection.open(
            host, port, credentials=self._source.credentials, tls=self._source.tls
        )

    def _identify(self, host: str, port: int) -> UUID:
        with self._open(host, port) as connection:
            return connection.node
