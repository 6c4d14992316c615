"""Fills a table with `OP_CACHE_PUT_ALL`: bounded requests, several under way at once."""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import pyarrow as pa

from insitu.databases.ignite.cluster.catalog import Table
from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.writing.entries import Layout, encode_entries
from insitu.errors import ConfigurationError

_PUT_ALL: Final = 1004

#: A server holds a request several times over, and so do the backups it sends the rows on to.
_REQUEST_BYTES: Final = 1 << 20
_REQUEST_ROWS: Final = 4096
_IN_FLIGHT: Final = 2
#: Encoded at a time, so that a large batch does not stand in memory several times.
_SLICE_BYTES: Final = 8 << 20


class IgniteWriter:
    """Writes record batches into one cache; the same key again replaces the row.

    Thread-safe: every thread that writes at the same time has a connection of its own.
    """

    def __init__(
        self, table: Table, layout: Layout, schema: pa.Schema, connect: Callable[[], Connection]
    ) -> None:
        """`connect` opens one more connection, each to another server if it can."""
        self._table = table
        self._layout = layout
        self._schema = schema
        self._connect = connect
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def write(self, batch: pa.RecordBatch) -> None:
        """Returns when the cluster has taken every row.

        Raises:
            ConfigurationError: the batch has another schema, or a null in a key column.
            UnsupportedType: a value does not fit the type it is stored as.
            DatabaseUnavailable: a server went away; some rows may be written, so write again.
        """
        self._check(batch)
        connection = self._take()
        try:
            waiting: deque[int] = deque()
            for request in self._requests(batch):
                if len(waiting) == _IN_FLIGHT:
                    connection.receive(waiting.popleft())
                waiting.append(connection.send(_PUT_ALL, request))
            while waiting:
                connection.receive(waiting.popleft())
        except BaseException:
            # Replies may still be under way: nobody else can use this connection.
            connection.close()
            raise
        self._give_back(connection)

    def close(self) -> None:
        """Ends all connections; a write under way in another thread finishes first."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _check(self, batch: pa.RecordBatch) -> None:
        if not batch.schema.equals(self._schema):
            raise ConfigurationError(
                f"the writer takes rows of {_spelled(self._schema)}, not {_spelled(batch.schema)}"
            )
        for column in self._layout.key:
            if nulls := batch.column(column.source).null_count:
                raise ConfigurationError(
                    f"key column '{column.source}' is null in {nulls} row(s); "
                    "every row needs a key of its own"
                )

    def _requests(self, batch: pa.RecordBatch) -> Iterator[bytes]:
        rows = max(1, _SLICE_BYTES * batch.num_rows // max(batch.nbytes, 1))
        for start in range(0, batch.num_rows, rows):
            entries = encode_entries(batch.slice(start, rows), self._layout)
            for part in _parts(entries):
                head = struct.pack("<ibi", self._table.cache_id, 0, len(part))
                yield head + b"".join(part)

    def _take(self) -> Connection:
        with self._lock:
            if self._closed:
                raise ConfigurationError("the writer is closed")
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()


def _parts(entries: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cuts entries into requests; one that is larger than a request goes alone."""
    start = size = 0
    for index, entry in enumerate(entries):
        full = size + len(entry) > _REQUEST_BYTES or index - start == _REQUEST_ROWS
        if full and index > start:
            yield entries[start:index]
            start, size = index, 0
        size += len(entry)
    if start < len(entries):
        yield entries[start:]


def _spelled(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
