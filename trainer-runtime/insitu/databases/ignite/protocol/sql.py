"""SQL over the client protocol: table definitions, system views and counts.

Rows of a table are never read this way; see reader.py. Source of the format: Apache Ignite
documentation, "Binary Client Protocol", OP_QUERY_SQL_FIELDS.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from insitu.databases.ignite.binary.decode import read_value
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.protocol import connection as wire
from insitu.databases.ignite.protocol.faults import ServerError
from insitu.databases.ignite.protocol.frames import STRING
from insitu.errors import ProtocolError

_QUERY = 2004
_NEXT_PAGE = 2005
_PAGE_ROWS = 4096

_VIEW_ATTEMPTS = 50
_VIEW_PAUSE_SECONDS = 0.1

Row = tuple[Any, ...]

#: Results of the queries made here hold no binary objects.
_NO_TYPES = BinaryTypes(lambda _: None)


def query(
    connection: wire.Connection,
    sql: str,
    *,
    schema: str = "PUBLIC",
    local: bool = False,
    partitions: Sequence[int] | None = None,
) -> list[Row]:
    """All rows of `sql`, numbers as Python's own; a definition gives one row.

    `local` keeps the query on the node that is asked, `partitions` restricts a query on a
    partitioned table to rows of these.

    Raises:
        ServerError: the statement is refused; the message is the server's.
    """
    return receive(connection, send(connection, sql, schema, local=local, partitions=partitions))


def system_view(connection: wire.Connection, statement: str) -> list[Row]:
    """All rows of a query on the system views, raising as `query` does.

    A node takes clients a moment before its views are there, which is waited for.
    """
    for _ in range(_VIEW_ATTEMPTS):
        try:
            return query(connection, statement)
        except ServerError as error:
            if not error.no_such_table:
                raise
            time.sleep(_VIEW_PAUSE_SECONDS)
    return query(connection, statement)


def send(
    connection: wire.Connection,
    sql: str,
    schema: str = "PUBLIC",
    *,
    local: bool = False,
    partitions: Sequence[int] | None = None,
) -> int:
    """Sends a query for `receive`, so that several can be under way on one connection."""
    return connection.send(_QUERY, _request(sql, schema, local, partitions))


def receive(connection: wire.Connection, request_id: int) -> list[Row]:
    """All rows of a query that `send` started; raises as `query` does."""
    page = connection.receive(request_id)
    try:
        cursor, columns = struct.unpack_from("<qi", page)
        rows, more = _read_rows(page, 12, columns)
        while more:
            page = connection.request(_NEXT_PAGE, struct.pack("<q", cursor))
            further, more = _read_rows(page, 0, columns)
            rows += further
    except (struct.error, IndexError) as error:
        raise ProtocolError(f"Ignite at {connection.where} sent a truncated result") from error
    return rows


def quoted(name: str) -> str:
    """`name` as an SQL identifier, exactly as it is written."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """`value` as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def _request(sql: str, schema: str, local: bool, partitions: Sequence[int] | None) -> bytearray:
    body = bytearray(struct.pack("<ib", 0, 0))  # no cache id: the schema says where to look
    body += _string(schema)
    body += struct.pack("<ii", _PAGE_ROWS, -1)
    body += _string(sql)
    body += struct.pack("<i", 0)  # arguments
    any_statement = 0
    # joins across nodes, local, replicated only, enforced join order, collocated, lazy
    body += struct.pack("<b6?", any_statement, False, local, False, False, False, True)
    body += struct.pack("<q?", 0, False)  # no time limit, no column names
    if partitions is None:
        body += struct.pack("<i", -1)
    else:
        body += struct.pack(f"<i{len(partitions)}i", len(partitions), *partitions)
    body += struct.pack("<i", 1)  # rows of an update sent at a time
    return body


def _string(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<bi", STRING, len(data)) + data


def _read_rows(page: memoryview, offset: int, columns: int) -> tuple[list[Row], bool]:
    (count,) = struct.unpack_from("<i", page, offset)
    offset += 4
    rows: list[Row] = []
    for _ in range(count):
        row = []
        for _ in range(columns):
            value, offset = read_value(page, offset, _NO_TYPES, "result")
            row.append(value.item() if isinstance(value, np.number) else value)
        rows.append(tuple(row))
    return rows, bool(page[offset])
