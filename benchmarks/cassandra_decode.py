"""Decoding alone: one page of a real node, by Insitu and by cassandra-driver as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cassandra.protocol import ProtocolHandler
from cassandra.query import PreparedStatement

from benchmarks import cassandra_ways as ways
from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.columns.quick import batches_of
from insitu.databases.cassandra.columns.rows import locate
from insitu.databases.cassandra.columns.types import Column
from insitu.databases.cassandra.protocol.connection import Connection
from insitu.databases.cassandra.protocol.messages import Opcode, long_value
from insitu.databases.cassandra.protocol.results import parse_rows
from insitu.databases.cassandra.ranges import RING

_LEAST_SECONDS = 0.2


def rates(table: ways.Table, rounds: int) -> tuple[list[float], list[float]]:
    """Rows per second, in millions: Insitu's and the driver's, round by round."""
    body, columns = _one_body(table)
    page = parse_rows(memoryview(body)).page
    with ways.driver(table) as session:
        prepared = session.prepare(table.select.cql)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        ours.append(_rate(lambda: _insitu(page, columns)))
        theirs.append(_rate(lambda: _driver(body, prepared)))
    return ours, theirs


def _one_body(table: ways.Table) -> tuple[bytes, tuple[Column, ...]]:
    with Connection.open(table.node.host, table.node.port) as connection:
        prepared = connection.prepare(table.select.cql)
        ring = [long_value(RING.start), long_value(RING.end)]
        connection.execute(prepared, ring, page_rows=table.page_rows)
        body = connection.result(connection.receive())
    assert body is not None
    return bytes(body), prepared.columns


def _insitu(page: Page, columns: tuple[Column, ...]) -> int:
    return sum(batch.num_rows for batch in batches_of(columns, locate(page, columns)))


def _driver(body: bytes, prepared: PreparedStatement) -> int:
    message: Any = ProtocolHandler.decode_message(
        4, {}, 0, 0, Opcode.RESULT, body, None, prepared.result_metadata
    )
    return len(message.parsed_rows)


def _rate(decode: Callable[[], int]) -> float:
    """Of as many repeats as fill a fifth of a second."""
    rows = 0
    start = time.perf_counter()
    while (seconds := time.perf_counter() - start) < _LEAST_SECONDS:
        rows += decode()
    return rows / seconds / 1e6
