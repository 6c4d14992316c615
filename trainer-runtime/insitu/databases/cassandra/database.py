"""One table of one Cassandra cluster, for control work; rows are read by reading/."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import closing

import pyarrow as pa

from insitu.databases import DataSource, ReadLimits
from insitu.databases.cassandra.cluster.control import Control
from insitu.databases.cassandra.cluster.endpoints import first_answering, open_at
from insitu.databases.cassandra.cluster.ring import choose_datacenter
from insitu.databases.cassandra.cluster.tables import Table, find_table, parse_name, selected
from insitu.databases.cassandra.cluster.topology import TopologyReader
from insitu.databases.cassandra.columns.types import arrow_schema
from insitu.databases.cassandra.protocol.connection import Connection
from insitu.databases.cassandra.reading.reader import CassandraReader
from insitu.databases.cassandra.reading.statement import Select
from insitu.databases.cassandra.writing.open import open_writer
from insitu.databases.cassandra.writing.packs import PackWriter
from insitu.databases.cassandra.writing.writer import CassandraWriter
from insitu.errors import ConfigurationError, InsituError, nearest
from insitu.topology import DatabaseNode, Topology

_OPTIONS = ("datacenter", "where")
_TIMEOUT_SECONDS = 30.0
#: First that of the asked node.
_DATACENTERS = (
    "SELECT data_center FROM system.local",
    "SELECT data_center FROM system.peers_v2",
)


class CassandraDatabase:
    """`insitu.databases.Database` for Cassandra. Thread-safe; control requests go one by one."""

    def __init__(self, source: DataSource) -> None:
        """Connects to nothing yet.

        Raises:
            ConfigurationError: `source` names no endpoint, no keyspace, or an unknown option.
        """
        if not source.endpoints:
            raise ConfigurationError("no endpoint is given: name one Cassandra node as host:port")
        for option in source.options:
            if option not in _OPTIONS:
                raise ConfigurationError(
                    f"option '{option}' is not known{nearest(option, _OPTIONS)}"
                )
        self._source = source
        self._name = parse_name(source.table)
        self._lock = threading.Lock()
        self._control: Control | None = None
        self._reader: TopologyReader | None = None

    def check(self) -> None:
        self.schema()

    def schema(self) -> pa.Schema:
        with closing(self._open_any()) as connection:
            table = self._find(connection)
            self._check_datacenter(connection, table)
            select = self._select(table)
            columns = connection.prepare(select.cql).columns
            # Only reading finds out whether the role may.
            connection.query(table.first_row)
            if select.packing is not None:
                return select.packing.schema
            return arrow_schema(columns[: len(select.columns)])

    def places(self) -> dict[str, tuple[str, ...]]:
        """Where each column lies in an entry: `("key",)` for a primary key of one column, else
        `("key", name)`, and `("val", name)` for all others. Samples of a packed table have no key.
        """
        with closing(self._open_any()) as connection:
            table = self._find(connection)
        if table.packing is not None:
            return {name: ("val", name) for name in table.packing.schema.names}
        key = (*table.partition_key, *table.clustering)
        return {
            column.name: ("key", *([column.name] if len(key) > 1 else []))
            if column.name in key
            else ("val", column.name)
            for column in table.columns
        }

    def topology(self) -> Topology:
        with self._lock:
            try:
                return self._topology_reader().read()
            except InsituError:
                # The next one begins with the endpoints again.
                self._drop()
                raise

    def count(self) -> None:
        """Cassandra has to read all rows to count them."""

    def reader(self, node: DatabaseNode, limits: ReadLimits = ReadLimits()) -> CassandraReader:  # noqa: B008 - frozen
        def connect() -> Connection:
            return open_at(self._source, node.host, node.port, limits.timeout_seconds)

        with closing(connect()) as connection:
            select = self._select(self._find(connection))
        return CassandraReader(node, select, connect, limits)

    def writer(
        self, schema: pa.Schema, *, key: Sequence[str], options: Mapping[str, str] | None = None
    ) -> CassandraWriter | PackWriter:
        return open_writer(self._source, self._name, schema, key, options or {})

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _topology_reader(self) -> TopologyReader:
        if self._reader is None:
            self._control = Control.open(self._source)
            options = self._source.options
            self._reader = TopologyReader(
                self._control, self._name, options.get("datacenter"), where=options.get("where")
            )
        return self._reader

    def _drop(self) -> None:
        if self._control is not None:
            self._control.close()
        self._control = self._reader = None

    def _select(self, table: Table) -> Select:
        columns, where = selected(table, self._source.columns), self._source.options.get("where")
        if table.packing is not None and where is not None:
            raise ConfigurationError(
                f"the samples of {table.name} are packed, many in a row, so the server can't tell"
                " them apart: leave `where` out"
            )
        return Select(
            table.name.keyspace,
            table.name.table,
            columns,
            table.partition_key,
            where,
            table.packing.of(columns) if table.packing is not None else None,
            table.clustering_order,
        )

    def _check_datacenter(self, connection: Connection, table: Table) -> None:
        contact, *others = (
            row["data_center"] for cql in _DATACENTERS for row in connection.query(cql).to_pylist()
        )
        wanted = self._source.options.get("datacenter")
        choose_datacenter({contact, *filter(None, others)}, table.replication, wanted, contact)

    def _find(self, connection: Connection) -> Table:
        return find_table(lambda cql: connection.query(cql).to_pylist(), self._name)

    def _open_any(self) -> Connection:
        return first_answering(self._source, _TIMEOUT_SECONDS)[0]
