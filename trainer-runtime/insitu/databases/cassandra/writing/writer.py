"""Fills a table with prepared inserts: many under way, in token order, each at a node of its own.

Rows of one partition that follow each other go as one unlogged batch, which is a single mutation.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from cassandra import ConsistencyLevel, OperationTimedOut, RequestExecutionException
from cassandra.cluster import NoHostAvailable, ResponseFuture
from cassandra.connection import ConnectionException
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement, Statement

from insitu.databases.cassandra.cluster.control import Control
from insitu.databases.cassandra.cluster.faults import FAILURES, explain
from insitu.databases.cassandra.columns.types import Column
from insitu.databases.cassandra.reading.tokens import token_of
from insitu.databases.cassandra.writing.routes import Routes
from insitu.databases.cassandra.writing.storage import Value, encode, fitting
from insitu.errors import ConfigurationError, DatabaseUnavailable
from insitu.topology import NodeId

_IN_FLIGHT: Final = 64
_IN_FLIGHT_BYTES: Final = 8 << 20
#: A server warns above 5 KiB and refuses above 50 KiB, but for batches of one partition only
#: their size as a mutation counts.
_BATCH_BYTES: Final = 32 << 10
_BATCH_ROWS: Final = 64
_LANES: Final = 16

_TRIES: Final = 8
_FIRST_WAIT_SECONDS: Final = 0.1

#: What another try may help against.
_PASSING = (RequestExecutionException, OperationTimedOut, NoHostAvailable, ConnectionException)


@dataclass(frozen=True, slots=True)
class _Insert:
    statement: Statement
    replicas: tuple[NodeId, ...]
    size: int


class CassandraWriter:
    """Writes record batches into one table; the same key again replaces the row. Thread-safe."""

    def __init__(
        self,
        control: Control,
        insert: PreparedStatement,
        columns: Sequence[Column],
        key: Sequence[int],
        primary: Sequence[int],
        schema: pa.Schema,
        routes: Routes,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Takes over `control`.

        Args:
            control: the session with all nodes.
            insert: takes the values of `columns`; its consistency level holds.
            columns: of the table, in the order of `schema`.
            key: places of the partition key's columns, in its order.
            primary: places of all key columns.
            schema: of the batches.
            routes: which node to hand a row to.
            sleep: waits between tries.
        """
        self._control = control
        self._insert = insert
        self._columns = columns
        self._key = key
        self._primary = primary
        self._schema = schema
        self._routes = routes
        self._sleep = sleep
        self._lanes = ThreadPoolExecutor(_LANES, "cassandra-writer")

    def write(self, batch: pa.RecordBatch) -> None:
        """Returns when the cluster has taken every row, at the writer's consistency level.

        Raises:
            ConfigurationError: the batch has another schema, or a null in a key column.
            UnsupportedType: a value does not fit the type it is stored as.
            DatabaseUnavailable: the servers did not take a row, after several tries; some rows
                may be written, so write again.
        """
        self._check(batch)
        by_node: dict[NodeId, list[_Insert]] = {}
        for insert in self._inserts(batch):
            by_node.setdefault(insert.replicas[0], []).append(insert)
        lanes = [self._lanes.submit(self._send, inserts) for inserts in by_node.values()]
        for lane in lanes:
            lane.result()

    def close(self) -> None:
        """Ends all connections; a write under way in another thread finishes first."""
        self._lanes.shutdown()
        self._control.close()

    def _check(self, batch: pa.RecordBatch) -> None:
        if not batch.schema.equals(self._schema):
            raise ConfigurationError(
                f"the writer takes rows of {_spelled(self._schema)}, not {_spelled(batch.schema)}"
            )
        for place in self._primary:
            if nulls := batch.column(place).null_count:
                raise ConfigurationError(
                    f"key column '{self._schema.names[place]}' is null in {nulls} row(s); "
                    "every row needs a key of its own"
                )

    def _inserts(self, batch: pa.RecordBatch) -> Iterator[_Insert]:
        """In token order, so that a node writes to one place after the other."""
        encoded = [
            encode(fitting(column.name, values, column.type), column.type)
            for column, values in zip(self._columns, batch.columns, strict=True)
        ]
        rows = list(zip(*encoded, strict=True))
        keys = list(zip(*(encoded[place] for place in self._key), strict=True))
        tokens = [token_of(key) for key in keys]
        order = sorted(range(len(rows)), key=tokens.__getitem__)
        start = 0
        while start < len(order):
            end = size = 0
            first = order[start]
            for end in range(start, min(start + _BATCH_ROWS, len(order))):
                row = order[end]
                more = sum(len(value) for value in rows[row] if value is not None)
                if end > start and (keys[row] != keys[first] or size + more > _BATCH_BYTES):
                    break
                size += more
            else:
                end += 1
            statement = self._statement([rows[row] for row in order[start:end]])
            yield _Insert(statement, self._routes.replicas(tokens[first]), size)
            start = end

    def _statement(self, rows: Sequence[Sequence[Value]]) -> Statement:
        bound = []
        for row in rows:
            statement = BoundStatement(self._insert)
            # Already encoded: binding would take Python objects and encode each.
            statement.values = list(row)
            bound.append(statement)
        if len(bound) == 1:
            return bound[0]
        batch = BatchStatement(BatchType.UNLOGGED, consistency_level=self._insert.consistency_level)
        for statement in bound:
            batch.add(statement)
        return batch

    def _send(self, inserts: Sequence[_Insert]) -> None:
        """One node's, a bounded number and size at a time; a slow server slows this down."""
        waiting: deque[tuple[ResponseFuture, _Insert]] = deque()
        size = 0
        for insert in inserts:
            while waiting and (len(waiting) >= _IN_FLIGHT or size + insert.size > _IN_FLIGHT_BYTES):
                size -= self._settle(*waiting.popleft())
            waiting.append((self._control.send(insert.statement, insert.replicas[0]), insert))
            size += insert.size
        while waiting:
            self._settle(*waiting.popleft())

    def _settle(self, future: ResponseFuture, insert: _Insert) -> int:
        """Waits for a reply; tries again, at each replica in turn, and ever more patiently."""
        wait = _FIRST_WAIT_SECONDS
        for attempt in range(1, _TRIES + 1):
            try:
                future.result()
            except FAILURES as error:
                if attempt == _TRIES or not isinstance(error, _PASSING):
                    failure = explain(error, self._control.where)
                    if attempt == 1:
                        raise failure from error
                    raise DatabaseUnavailable(f"after {attempt} tries: {failure}") from error
                self._sleep(wait)
                wait *= 2
                node = insert.replicas[attempt % len(insert.replicas)]
                future = self._control.send(insert.statement, node)
            else:
                break
        return insert.size


def consistency(options: Mapping[str, str]) -> int:
    """The level to write at; LOCAL_QUORUM unless `options` say otherwise.

    Raises:
        ConfigurationError: there is no such level.
    """
    name = options.get("consistency", "LOCAL_QUORUM").upper()
    level: Any = ConsistencyLevel.name_to_value.get(name)
    if level is None:
        raise ConfigurationError(
            f"consistency '{name}' is not known; LOCAL_QUORUM, LOCAL_ONE and ALL are some that are"
        )
    return int(level)


def _spelled(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
