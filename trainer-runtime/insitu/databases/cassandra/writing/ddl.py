"""The table a load fills: created when it is missing, checked when it is there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from insitu.databases.cassandra.cluster.tables import Table, TableName, text
from insitu.databases.cassandra.packing import Packing
from insitu.databases.cassandra.reading.statement import quoted
from insitu.databases.cassandra.writing.storage import cql_type
from insitu.errors import ConfigurationError, nearest

OPTIONS = ("replicas", "consistency", "pack")
DEFAULT_REPLICAS = 3

_KEYS = re.compile(
    r"ascii|bigint|blob|boolean|date|decimal|double|float|inet|int|smallint|text|time|timestamp|"
    r"timeuuid|tinyint|uuid|varint"
)


def check_request(schema: pa.Schema, key: Sequence[str], options: Mapping[str, str]) -> None:
    """Raises `ConfigurationError` for an option or a key that can't work."""
    for name in options:
        if name not in OPTIONS:
            raise ConfigurationError(f"option '{name}' is not known{nearest(name, OPTIONS)}")
    if not key:
        raise ConfigurationError("no key column is given: every row needs a key of its own")
    for name in key:
        if name not in schema.names:
            raise ConfigurationError(
                f"key column '{name}' is not among the columns{nearest(name, schema.names)}"
            )
        kind = cql_type(name, schema.field(name).type)
        if not _KEYS.fullmatch(kind):
            raise ConfigurationError(f"key column '{name}' would be a {kind}, which is no key")


def replicas(options: Mapping[str, str], nodes: int) -> int:
    """Copies of a new keyspace: as asked for, or three where there are as many nodes.

    Raises:
        ConfigurationError: `replicas` is no number, or more than there are nodes.
    """
    asked = options.get("replicas")
    if asked is None:
        return min(DEFAULT_REPLICAS, nodes)
    if not asked.isdecimal() or not 0 < int(asked) <= nodes:
        raise ConfigurationError(f"replicas {asked}: write a number from 1 to {nodes}, the nodes")
    return int(asked)


def create_keyspace(name: TableName, datacenter: str, copies: int) -> str:
    """The statement; nothing happens if the keyspace is there."""
    return (
        f"CREATE KEYSPACE IF NOT EXISTS {quoted(name.keyspace)} WITH replication ="
        f" {{'class': 'NetworkTopologyStrategy', {text(datacenter)}: {copies}}}"
    )


def create_table(
    name: TableName, schema: pa.Schema, key: Sequence[str], packing: Packing | None = None
) -> str:
    """The statement. The first column of `key` is the partition key, the others cluster.

    Raises:
        UnsupportedType: CQL has no type for a column.
    """
    columns = [f"{quoted(f.name)} {cql_type(f.name, f.type)}" for f in schema]
    primary = ", ".join(map(quoted, key))
    table = f"{name.cql} ({', '.join(columns)}, PRIMARY KEY ({primary}))"
    comment = f" WITH comment = {text(packing.comment)}" if packing is not None else ""
    return f"CREATE TABLE IF NOT EXISTS {table}{comment}"


def check_table(
    table: Table, schema: pa.Schema, key: Sequence[str], packing: Packing | None = None
) -> None:
    """Raises `ConfigurationError` where rows of `schema` can't be put into `table` by `key`."""
    if table.packing != packing:
        there = table.packing.comment if table.packing is not None else "one sample a row"
        wanted = packing.comment if packing is not None else "one sample a row"
        raise ConfigurationError(
            f"table {table.name} is laid out otherwise ({there}) than it is to be filled"
            f" ({wanted}): load into a new table, or as it is"
        )
    known = {column.name for column in table.columns}
    for name in schema.names:
        if name not in known:
            raise ConfigurationError(
                f"table {table.name} has no column '{name}'{nearest(name, known)}"
            )
    primary = (*table.partition_key, *table.clustering)
    if set(key) != set(primary):
        raise ConfigurationError(
            f"the primary key of table {table.name} is ({', '.join(primary)}), not"
            f" ({', '.join(key)}): give --key for each of its columns"
        )


def insert(table: Table, columns: Sequence[str]) -> str:
    """The statement, to be prepared."""
    names = ", ".join(map(quoted, columns))
    marks = ", ".join("?" for _ in columns)
    return f"INSERT INTO {table.name.cql} ({names}) VALUES ({marks})"  # noqa: S608 - names are quoted
