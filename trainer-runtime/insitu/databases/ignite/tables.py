"""What SQL declares of a table: its columns, and what its keys and values are."""

from __future__ import annotations

import struct

from insitu.databases.ignite import sql
from insitu.databases.ignite.catalog import SqlName
from insitu.databases.ignite.frames import NULL, STRING, read_string
from insitu.databases.ignite.schema import SqlColumn, SqlTable
from insitu.databases.ignite.wire import Connection

#: Every table has these two besides its own: the whole key and the whole value.
_WHOLE = ("_KEY", "_VAL")
_QUERY = 2004


def read_sql_table(connection: Connection, name: SqlName) -> SqlTable:
    """The declaration of a table that exists, its columns in the order of the declaration.

    Raises:
        ServerError: the server refuses to read its own system views.
    """
    which = f"SCHEMA_NAME = {sql.text(name.schema)} AND TABLE_NAME = {sql.text(name.name)}"
    [(key_type, value_type, key_alias, value_alias)] = sql.query(
        connection,
        "SELECT KEY_TYPE_NAME, VALUE_TYPE_NAME, KEY_ALIAS, VALUE_ALIAS "  # noqa: S608 - quoted
        f"FROM SYS.TABLES WHERE {which}",
    )
    rows = sql.query(
        connection,
        'SELECT COLUMN_NAME, "TYPE", PK, "PRECISION", "SCALE" '  # noqa: S608 - quoted
        f"FROM SYS.TABLE_COLUMNS WHERE {which}",
    )
    declared = {
        column: SqlColumn(column, java, key, _digits(precision), _digits(scale))
        for column, java, key, precision, scale in rows
        if column not in _WHOLE
    }
    columns = tuple(declared[column] for column in _column_names(connection, name))
    return SqlTable(key_type, value_type, columns, key_alias, value_alias)


def _column_names(connection: Connection, name: SqlName) -> list[str]:
    """In the order of the declaration, which no system view tells but `SELECT *` has.

    The names come with a query that asks for them; see sql.py for the layout of the request.
    """
    statement = f"SELECT * FROM {name} WHERE FALSE".encode()  # noqa: S608 - the name is quoted
    body = struct.pack("<ibBiibi", 0, 0, NULL, 1, -1, STRING, len(statement)) + statement
    body += struct.pack("<ib6?q?ii", 0, 0, *(6 * [False]), 0, True, -1, 1)
    reply = connection.request(_QUERY, body)
    offset = struct.calcsize("<qi")
    (count,) = struct.unpack_from("<i", reply, 8)
    names = []
    for _ in range(count):
        column, offset = read_string(reply, offset)
        names.append(column)
    return names


def _digits(number: int) -> int | None:
    """The view says -1 where nothing is declared."""
    return number if number >= 0 else None
