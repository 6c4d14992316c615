"""Makes a table ready for a load, and opens its writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from insitu.databases import DataSource
from insitu.databases.cassandra.cluster.control import Control
from insitu.databases.cassandra.cluster.endpoints import first_answering
from insitu.databases.cassandra.cluster.members import Membership, read_members
from insitu.databases.cassandra.cluster.ring import choose_datacenter, segments
from insitu.databases.cassandra.cluster.tables import Table, TableName, look_up
from insitu.databases.cassandra.columns.types import Column
from insitu.databases.cassandra.packing import NUMBER, Packing, packing_of
from insitu.databases.cassandra.reading.statement import Select
from insitu.databases.cassandra.writing import ddl
from insitu.databases.cassandra.writing.packs import PackWriter, pack_size
from insitu.databases.cassandra.writing.routes import Routes
from insitu.databases.cassandra.writing.storage import fitting
from insitu.databases.cassandra.writing.writer import CassandraWriter, consistency
from insitu.errors import ConfigurationError, DatabaseUnavailable

_TIMEOUT_SECONDS = 30.0


def open_writer(
    source: DataSource,
    name: TableName,
    schema: pa.Schema,
    key: Sequence[str],
    options: Mapping[str, str],
) -> CassandraWriter | PackWriter:
    """A writer for rows of `schema`; keyspace and table are created where they are missing.

    Raises:
        ConfigurationError: the key, an option or a column can't work, or the existing table has
            other columns or another key.
        UnsupportedType: CQL has nothing that keeps a column's values.
        AuthenticationError, DatabaseUnavailable: as `Control.open`.
    """
    ddl.check_request(schema, key, options)
    if (size := pack_size(options)) is None:
        return _open(source, name, schema, key, options, None)
    if len(key) > 1:
        raise ConfigurationError("rows to be packed have one number as their key, not several")
    packing = packing_of(schema, size)
    writer = _open(source, name, packing.stored, [NUMBER], options, packing)
    return PackWriter(writer, packing, key[0])


def _open(
    source: DataSource,
    name: TableName,
    schema: pa.Schema,
    key: Sequence[str],
    options: Mapping[str, str],
    packing: Packing | None,
) -> CassandraWriter:
    level = consistency(options)
    control = Control.open(source)
    try:
        membership = _membership(control)
        datacenter = source.options.get("datacenter")
        statement = ddl.create_table(name, schema, key, packing)
        table = _find(control, name) or _create(
            control, membership, name, statement, options, datacenter
        )
        ddl.check_table(table, schema, key, packing)
        columns = _columns(source, table, schema)
        for column, field in zip(columns, schema, strict=True):
            fitting(column.name, pa.nulls(0, field.type), column.type)
        insert = control.prepare(ddl.insert(table, schema.names))
        insert.consistency_level = level
        return CassandraWriter(
            control,
            insert,
            columns,
            [schema.names.index(column) for column in table.partition_key],
            [schema.names.index(column) for column in key],
            schema,
            _routes(control, membership, table, datacenter),
        )
    except BaseException:
        control.close()
        raise


def _membership(control: Control) -> Membership:
    contact = control.contact()
    if contact is None:
        raise DatabaseUnavailable(f"Cassandra at {control.where} went away")
    return read_members(control, contact)


def _find(control: Control, name: TableName) -> Table | None:
    return look_up(control.mappings, name)


def _create(
    control: Control,
    membership: Membership,
    name: TableName,
    statement: str,
    options: Mapping[str, str],
    wanted: str | None,
) -> Table:
    datacenter = wanted or membership.datacenter
    nodes = sum(member.datacenter == datacenter for member in membership.members)
    control.rows(ddl.create_keyspace(name, datacenter, ddl.replicas(options, nodes)))
    control.rows(statement)
    created = _find(control, name)
    if created is None:
        raise DatabaseUnavailable(f"table {name} is not there after it was created; try again")
    return created


def _columns(source: DataSource, table: Table, schema: pa.Schema) -> Sequence[Column]:
    """Their types, as the server tells them for a statement."""
    select = Select(table.name.keyspace, table.name.table, tuple(schema.names), table.partition_key)
    connection, _ = first_answering(source, _TIMEOUT_SECONDS)
    with connection:
        return connection.prepare(select.cql).columns[: len(schema.names)]


def _routes(control: Control, membership: Membership, table: Table, wanted: str | None) -> Routes:
    datacenter = choose_datacenter(
        membership.datacenters, table.replication, wanted, membership.datacenter
    )
    near = [member.id for member in membership.members if member.datacenter == datacenter]
    ring = segments(membership.members, table.replication, datacenter)
    return Routes(ring, control.up(near))
