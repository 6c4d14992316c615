"""The table a load fills: created when it is missing, and how its columns are stored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from insitu.databases.ignite.binary import metadata
from insitu.databases.ignite.binary.hashes import field_id, type_id
from insitu.databases.ignite.cluster.catalog import SqlName, Table, find_table, has_sql
from insitu.databases.ignite.protocol import faults, sql
from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.writing.entries import Column, Layout
from insitu.databases.ignite.writing.storage import storage_of, stored_as
from insitu.errors import ConfigurationError, nearest

_OPTIONS: Final = ("backups", "template")
_NAME: Final = re.compile(r"(?:[A-Za-z_]\w*\.)?[A-Za-z_]\w*")
_PLAIN: Final = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class _SqlColumn:
    name: str
    java: str
    precision: int
    scale: int
    key: bool


def prepare(
    connection: Connection,
    name: str,
    schema: pa.Schema,
    key: Sequence[str],
    options: Mapping[str, str],
) -> tuple[Table, Layout]:
    """The table called `name`, made to fit `schema` if it is not there, and the layout of entries.

    Columns keep the case of their names, so SQL has to quote them; the table's name does not.

    Raises:
        ConfigurationError: the key, an option or a column can't work, or the existing table has
            other columns.
        UnsupportedType: Ignite has nothing that keeps a column's values.
    """
    _check_columns(schema, key)
    _check_options(options)
    table = _existing(connection, name) or _create(connection, name, schema, key, options)
    layout = (
        _layout_by_sql(connection, table, table.sql, schema, key)
        if table.sql is not None
        else _natural_layout(table.cache, schema, key)
    )
    for kind in layout.binary_types:
        connection.request(metadata.PUT_BINARY_TYPE, metadata.put_request(kind))
    return table, layout


def _check_columns(schema: pa.Schema, key: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in schema.names:
        if (other := seen.setdefault(name.lower(), name)) is not name:
            raise ConfigurationError(
                f"columns '{other}' and '{name}' are one to Ignite, which ignores case: rename one"
            )
    for name in key:
        if name not in schema.names:
            raise ConfigurationError(
                f"key column '{name}' is not among the columns{nearest(name, schema.names)}"
            )
        kind = schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_floating(kind) or pa.types.is_binary(kind):
            raise ConfigurationError(
                f"key column '{name}' is of type {kind}; a key has to be an integer, a string, a "
                "UUID, a date or a timestamp"
            )
    if not key:
        raise ConfigurationError("a table needs at least one key column")
    if len(set(key)) == len(schema.names):
        raise ConfigurationError("a table needs at least one column besides its key")


def _check_options(options: Mapping[str, str]) -> None:
    for option, value in options.items():
        if option not in _OPTIONS:
            raise ConfigurationError(
                f"Ignite tables have no option '{option}'{nearest(option, _OPTIONS)}"
            )
        if option == "backups" and not value.isdecimal():
            raise ConfigurationError(f"backups has to be 0 or more, and is '{value}'")
        if option == "template" and not _PLAIN.fullmatch(value):
            raise ConfigurationError(f"'{value}' can't be the name of a cache template")


def _existing(connection: Connection, name: str) -> Table | None:
    try:
        return find_table(connection, name)
    except ConfigurationError:
        return None


def _create(
    connection: Connection,
    name: str,
    schema: pa.Schema,
    key: Sequence[str],
    options: Mapping[str, str],
) -> Table:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"'{name}' can't be the name of a table: use letters, digits and underscores"
        )
    if not has_sql(connection):
        raise ConfigurationError(
            f"Ignite at {connection.where} has no SQL engine to create table '{name}' with; put "
            "the module ignite-indexing on the servers' class path, or create the cache yourself"
        )
    columns = ", ".join(
        f"{sql.quoted(field.name)} {storage_of(field.name, field.type).sql}" for field in schema
    )
    keys = ", ".join(sql.quoted(column) for column in schema.names if column in key)
    settings = ",".join([*(f"{k}={v}" for k, v in options.items()), f"CACHE_NAME={name}"])
    statement = (
        f'CREATE TABLE IF NOT EXISTS {name} ({columns}, PRIMARY KEY ({keys})) WITH "{settings}"'
    )
    try:
        sql.query(connection, statement)
    except faults.ServerError as error:
        template = options.get("template", "")
        if template and faults.no_such_template(error, template):
            raise ConfigurationError(
                f"the servers have no cache template '{template}'; a template is a "
                f"cacheConfiguration named '{template}*' in each server's own configuration, and "
                "the only way to choose the number of partitions"
            ) from error
        raise ConfigurationError(f"Ignite can't create table '{name}': {error.message}") from error
    return find_table(connection, name)


def _layout_by_sql(
    connection: Connection, table: Table, name: SqlName, schema: pa.Schema, key: Sequence[str]
) -> Layout:
    there = {column.name.lower(): column for column in _sql_columns(connection, name)}
    keys = {column.name for column in there.values() if column.key}
    columns = [_column(table, field, there) for field in schema]
    if {there[wanted.lower()].name for wanted in key} != keys:
        raise ConfigurationError(
            f"table '{table.cache}' exists and its key is {', '.join(sorted(keys))}, "
            f"not {', '.join(key)}"
        )
    key_type, value_type = _type_names(connection, name)
    key_columns = [column for column in columns if column.name in keys]
    if len(keys) > 1:
        key_columns = _in_order(key_columns, _written_order(connection, key_type))
    return Layout(
        tuple(key_columns),
        tuple(column for column in columns if column.name not in keys),
        key_type,
        value_type,
    )


def _column(table: Table, field: pa.Field, there: Mapping[str, _SqlColumn]) -> Column:
    known = there.get(field.name.lower())
    if known is None:
        names = [column.name for column in there.values()]
        raise ConfigurationError(
            f"table '{table.cache}' exists and has no column '{field.name}'"
            f"{nearest(field.name, names)}"
        )
    storage = stored_as(field.name, known.java, known.precision, known.scale, field.type)
    return Column(field.name, known.name, storage)


def _natural_layout(cache: str, schema: pa.Schema, key: Sequence[str]) -> Layout:
    columns = [Column(f.name, f.name, storage_of(f.name, f.type)) for f in schema]
    return Layout(
        tuple(column for column in columns if column.name in key),
        tuple(column for column in columns if column.name not in key),
        f"{cache}_key",
        cache,
    )


def _sql_columns(connection: Connection, name: SqlName) -> list[_SqlColumn]:
    rows = _about(connection, "COLUMN_NAME, TYPE, PRECISION, SCALE, PK", "TABLE_COLUMNS", name)
    return [_SqlColumn(*row) for row in rows if row[0] not in ("_KEY", "_VAL")]


def _type_names(connection: Connection, name: SqlName) -> tuple[str, str]:
    [(key_type, value_type)] = _about(connection, "KEY_TYPE_NAME, VALUE_TYPE_NAME", "TABLES", name)
    return key_type, value_type


def _about(connection: Connection, columns: str, view: str, name: SqlName) -> list[sql.Row]:
    """What a system view says of one table."""
    statement = (
        f"SELECT {columns} FROM SYS.{view} "  # noqa: S608 - names are quoted
        f"WHERE SCHEMA_NAME = {sql.text(name.schema)} AND TABLE_NAME = {sql.text(name.name)}"
    )
    return sql.system_view(connection, statement)


def _written_order(connection: Connection, key_type: str) -> Sequence[int]:
    """Ids of the fields of the keys that are there: in another order they are other keys."""
    request = metadata.get_request(type_id(key_type))
    known = metadata.parse_get_reply(connection.request(metadata.GET_BINARY_TYPE, request))
    if known is None or len(known.schemas) != 1:
        return ()
    return next(iter(known.schemas.values()))


def _in_order(columns: Sequence[Column], order: Sequence[int]) -> list[Column]:
    place = {number: index for index, number in enumerate(order)}
    return sorted(columns, key=lambda column: place.get(field_id(column.name), len(place)))
