"""What the cluster tells of a table: SQL's declaration, binary metadata, and a few of its rows."""

from __future__ import annotations

import struct
from typing import Final

from insitu.databases.ignite.binary.decode import read_rows
from insitu.databases.ignite.binary.metadata import (
    GET_BINARY_TYPE,
    BinaryType,
    BinaryTypes,
    get_request,
    parse_get_reply,
)
from insitu.databases.ignite.binary.values import Row
from insitu.databases.ignite.cluster.catalog import SqlName, Table
from insitu.databases.ignite.columns.layout import RowLayout
from insitu.databases.ignite.columns.schema import SqlColumn, SqlTable, plan_layout
from insitu.databases.ignite.protocol import sql
from insitu.databases.ignite.protocol.connection import RESOURCE_CLOSE, Connection
from insitu.databases.ignite.protocol.frames import NULL, STRING, read_string

#: Every table has these two besides its own: the whole key and the whole value.
_WHOLE: Final = ("_KEY", "_VAL")
_QUERY: Final = 2004
_SCAN: Final = 2000
_SCAN_NEXT: Final = 2001

#: A sample ends with the first of these. Pages are small: rows may have megabytes.
_SAMPLE_ROWS: Final = 256
_SAMPLE_BYTES: Final = 1 << 20
_SAMPLE_PAGE_ROWS: Final = 4


def read_layout(connection: Connection, table: Table, types: BinaryTypes) -> RowLayout:
    """All columns of `table`, by everything that is known of it.

    Raises:
        UnsupportedType: its rows have no columns in common, or one of no single type.
    """
    declared = read_sql_table(connection, table.sql) if table.sql is not None else None
    return plan_layout(declared, types, sample_rows(connection, table, types))


def read_binary_type(connection: Connection, number: int) -> BinaryType | None:
    """The binary type with that id; None when nobody registered it. For `BinaryTypes`."""
    return parse_get_reply(connection.request(GET_BINARY_TYPE, get_request(number)))


def sample_rows(connection: Connection, table: Table, types: BinaryTypes) -> list[Row]:
    """The first rows that a scan of all partitions meets, 256 or 1 MiB at most."""
    all_partitions = -1
    request = struct.pack(
        "<ibBiib", table.cache_id, 0, NULL, _SAMPLE_PAGE_ROWS, all_partitions, False
    )
    page = connection.request(_SCAN, request)
    (cursor,) = struct.unpack_from("<q", page)
    rows, more = _rows_of_page(page[8:], types)
    size = len(page)
    while more and len(rows) < _SAMPLE_ROWS and size < _SAMPLE_BYTES:
        page = connection.request(_SCAN_NEXT, struct.pack("<q", cursor))
        further, more = _rows_of_page(page, types)
        rows += further
        size += len(page)
    if more:
        connection.request(RESOURCE_CLOSE, struct.pack("<q", cursor))
    return rows


def _rows_of_page(page: memoryview, types: BinaryTypes) -> tuple[list[Row], bool]:
    (count,) = struct.unpack_from("<i", page)
    rows, end = read_rows(page, 4, count, types)
    return rows, bool(page[end])


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
