"""What the cluster tells of a table: SQL's declaration, binary metadata, and a few of its rows."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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
from insitu.databases.ignite.columns.shape import (
    DecimalShape,
    ListShape,
    Plain,
    Shape,
    StructShape,
)
from insitu.databases.ignite.protocol import sql
from insitu.databases.ignite.protocol.connection import RESOURCE_CLOSE, Connection
from insitu.databases.ignite.protocol.faults import ServerError
from insitu.databases.ignite.protocol.frames import NULL, STRING, TooLarge, read_string

#: Every table has these two besides its own: the whole key and the whole value.
_WHOLE: Final = ("_KEY", "_VAL")
_QUERY: Final = 2004
_SCAN: Final = 2000
_SCAN_NEXT: Final = 2001

#: A sample ends with the first of these.
_SAMPLE_ROWS: Final = 256
_SAMPLE_BYTES: Final = 1 << 20
#: Rows may have megabytes, and a server builds a page on its heap at several times its size: the
#: first rows come one by one, and only where those are small a few on a page.
_ONE_BY_ONE: Final = 8
_SAMPLE_PAGE_ROWS: Final = 4
#: What a row of a sample may have where it is looked at for training.
ROW_BYTES: Final = 512 << 20

Elsewhere = Callable[[], Iterable[Connection]]
"""Opens connections to the other nodes, one after the other."""


def read_layout(
    connection: Connection,
    table: Table,
    types: BinaryTypes,
    elsewhere: Elsewhere = tuple,
    limit: int = ROW_BYTES,
) -> RowLayout:
    """All columns of `table`, by everything that is known of it; see `sample_rows`.

    No row is looked at where SQL and the metadata tell the columns: rows may have megabytes, and a
    server keeps the buffer of a large page for each of its threads that has built one.

    Raises:
        UnsupportedType: its rows have no columns in common, or one of no single type.
    """
    declared = read_sql_table(connection, table.sql) if table.sql is not None else None
    if declared is not None:
        layout = plan_layout(declared, types, ())
        if all(_is_told(column.shape) for column in layout.columns):
            return layout
    sample = sample_rows(connection, table, types, elsewhere, limit)
    return plan_layout(declared, types, sample)


def _is_told(shape: Shape) -> bool:
    """Whether rows could add nothing to it."""
    match shape:
        case Plain():
            return True
        case DecimalShape():
            return shape.declared
        case ListShape(item):
            return _is_told(item)
        case StructShape(_, _, fields):
            return all(_is_told(field) for _, field in fields)
        case _:
            return False


def read_binary_type(connection: Connection, number: int) -> BinaryType | None:
    """The binary type with that id; None when nobody registered it. For `BinaryTypes`."""
    return parse_get_reply(connection.request(GET_BINARY_TYPE, get_request(number)))


def sample_rows(
    connection: Connection,
    table: Table,
    types: BinaryTypes,
    elsewhere: Elsewhere = tuple,
    limit: int = ROW_BYTES,
) -> list[Row]:
    """Rows of the asked node, then of those `elsewhere`; 256 or 1 MiB at most.

    Each node scans only what it holds itself: a scan of all partitions of a cluster fills the heap
    of the node that is asked with whatever the others send. A row that comes with more than `limit`
    bytes ends the sample; the connection is closed then.

    Raises:
        DatabaseUnavailable: a node went away meanwhile.
    """
    sample = _Sample(table, types, limit)
    try:
        sample.take_from(connection)
        if not sample.full:
            for other in elsewhere():
                sample.take_from(other)
                if sample.full:
                    break
    except TooLarge:
        pass  # what came before it is a sample too
    return sample.rows


@dataclass(slots=True)
class _Sample:
    table: Table
    types: BinaryTypes
    limit: int
    rows: list[Row] = field(default_factory=list)
    size: int = 0

    @property
    def full(self) -> bool:
        return len(self.rows) >= _SAMPLE_ROWS or self.size >= _SAMPLE_BYTES

    def take_from(self, connection: Connection) -> None:
        """Adds rows that the node itself holds, none where it has no part in the cache."""
        before = len(self.rows)
        try:
            more = self._scan(connection, 1, 0, before + _ONE_BY_ONE)
            if more and not self.full:
                self._scan(connection, _SAMPLE_PAGE_ROWS, len(self.rows) - before, _SAMPLE_ROWS)
        except ServerError as error:
            if error.out_of_memory:
                raise

    def _scan(self, connection: Connection, page_rows: int, skip: int, most: int) -> bool:
        """Scans pages until there are `most` rows or the sample is full, passing over the first
        `skip` rows; returns whether there are more.
        """
        local, all_partitions = True, -1
        request = struct.pack(
            "<ibBiib", self.table.cache_id, 0, NULL, page_rows, all_partitions, local
        )
        page = connection.request(_SCAN, request, self.limit)
        (cursor,) = struct.unpack_from("<q", page)
        page = page[8:]
        while True:
            rows, more = _rows_of_page(page, self.types)
            kept = rows[skip:]
            skip = max(skip - len(rows), 0)
            self.rows += kept
            self.size += len(page) if kept else 0
            if not more or self.full or len(self.rows) >= most:
                break
            page = connection.request(_SCAN_NEXT, struct.pack("<q", cursor), self.limit)
        if more:
            connection.request(RESOURCE_CLOSE, struct.pack("<q", cursor))
        return more


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
