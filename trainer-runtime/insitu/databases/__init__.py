"""The one door to every database: topology out, Arrow batches out, Arrow batches in.

A database is one folder below this one, named in `_KINDS`. Its module offers
`connect(source) -> Database` and `refit(topology, shards) -> Topology`; nothing outside the
folder imports its driver or its protocol.

The seam is kept free of server cursors, pages and sockets: a reader opens a shard at a row's
position and yields Arrow batches, so that a later reader may take the owner's files instead.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from insitu.errors import ConfigurationError, nearest
from insitu.topology import DatabaseNode, ShardId, Topology

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_KINDS = {"ignite": "insitu.databases.ignite", "cassandra": "insitu.databases.cassandra"}


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files. The server's certificate and its name are always verified.

    `ca` defaults to the system's trust store; `certificate` and `key` are the client's own, for
    servers that ask for one (`key` defaults to `certificate`).
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the database's own authentication asks for."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DataSource:
    """Which table of which database, and how to reach it.

    `endpoints` are `(host, port)` of any live nodes; a topology names all the others. `table` is
    an Ignite cache or SQL table, or a Cassandra `keyspace.table`. `columns` None is all of them.
    `options` are the database's own (Cassandra: `datacenter`, `where`).
    """

    kind: str
    endpoints: tuple[tuple[str, int], ...]
    table: str
    columns: tuple[str, ...] | None = None
    credentials: Credentials | None = None
    tls: Tls | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def also_at(self, nodes: Sequence[DatabaseNode]) -> DataSource:
        """Asks `nodes` too, after its own endpoints: those may all be down while others live."""
        more = [(node.host, node.port) for node in nodes]
        return replace(self, endpoints=tuple(dict.fromkeys((*self.endpoints, *more))))


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How much a reader may ask of its database node at once.

    `page_bytes` is the size a page should have (4 MiB; the server builds each page on its heap,
    at several times its size). `buffer_bytes` bounds all pages that one reader has asked for or
    holds undelivered, over all its connections. `connections` bounds the server threads used.
    """

    page_bytes: int = 4 << 20
    buffer_bytes: int = 32 << 20
    connections: int = 2
    timeout_seconds: float = 30.0


@dataclass(slots=True)
class ReadCounters:
    """What a reader has taken so far, by database node; `node` is the id the server itself gave."""

    rows: int = 0
    bytes: int = 0
    requests: int = 0


class RowPosition(NamedTuple):
    """Where a row lies in its shard. It holds while other rows come and go, and once the row is
    gone it still lies between the same neighbours.

    `number` (64 bits, signed) is the database's own primary order of rows: Cassandra's token, or
    the hash by which Ignite's trees are ordered. `key` tells rows of the same number apart, in an
    encoding that only the database's own folder reads.
    """

    number: int
    key: bytes


class RowKeys(Protocol):
    """The keys of one batch's rows, worked out only for rows that are asked for.

    It stays valid after further batches, and may hold the page that the batch came from.
    """

    def position(self, row: int) -> RowPosition:
        """Where row `row` of the batch lies."""
        ...

    def up_to(self, position: RowPosition) -> int:
        """How many of the batch's rows, which are its first ones, lie at `position` or before."""
        ...

    def digests(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
        """A digest of the primary key of each of `rows` (n,), as uint64 (n,): the same whatever
        is in the row's other columns, and different for any two rows of a table.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeysAfter:
    """`keys` of a batch without its first `dropped` rows."""

    keys: RowKeys
    dropped: int

    def position(self, row: int) -> RowPosition:
        return self.keys.position(self.dropped + row)

    def up_to(self, position: RowPosition) -> int:
        return max(self.keys.up_to(position) - self.dropped, 0)

    def digests(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
        return self.keys.digests(rows + self.dropped)


class ShardStream(Protocol):
    """One shard being read, in the order of its rows' positions."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches of one to many rows; ends after the shard's last row.

        Raises `DatabaseUnavailable` when the node goes away, `NotOwner` when it holds no readable
        copy, `UnsupportedType` and `ProtocolError` for values that can't be decoded.
        """
        ...

    def keys(self) -> RowKeys:
        """The keys of the batch that was given last."""
        ...

    def close(self) -> None:
        """Frees the server's cursor; safe to call twice and from another thread."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Reads shards from exactly one database node. Thread-safe: streams may run side by side."""

    counters: ReadCounters

    @property
    def schema(self) -> pa.Schema:
        """Of every batch; known before the first row is read."""
        ...

    def open(self, shard: ShardId, start: RowPosition | None = None) -> ShardStream:
        """The rows of `shard`, or those of them that lie at `start` or behind it, whether or not
        there is a row at `start` itself, or within `shard` at all. Starts fetching ahead at once.
        """
        ...

    def close(self) -> None: ...


class Writer(Protocol):
    """Fills a table. Writing the same key again replaces the row, so a load can be repeated."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Returns when the database has taken every row. Thread-safe."""
        ...

    def close(self) -> None: ...


class Database(Protocol):
    """One table of one database."""

    def check(self) -> None:
        """Raises `ConfigurationError` for an unknown table or column, with the nearest name."""
        ...

    def schema(self) -> pa.Schema:
        """Columns as a reader yields them. Raises as `check` does."""
        ...

    def topology(self) -> Topology:
        """Read afresh. Raises `DatabaseUnavailable` when no endpoint answers."""
        ...

    def count(self) -> int | None:
        """Rows of the whole table now; None where the database can't say cheaply."""
        ...

    def reader(self, node: DatabaseNode, limits: ReadLimits = ReadLimits()) -> Reader:
        """A reader pinned to `node`: it never reads from any other."""
        ...

    def writer(
        self, schema: pa.Schema, *, key: Sequence[str], options: Mapping[str, str] | None = None
    ) -> Writer:
        """Creates the table when it is missing, and opens it for writing rows of `schema`.

        `options` are the database's own for a new table (Ignite: `backups`, `template`).
        """
        ...

    def close(self) -> None: ...


def connect(source: DataSource) -> Database:
    """Opens `source` for control work; nothing is read until it is asked for.

    Raises:
        ConfigurationError: there is no such kind of database.
    """
    database: Database = _module(source.kind).connect(source)
    return database


def refit(kind: str, topology: Topology, shards: Collection[ShardId]) -> Topology:
    """The same reading, in the shards that a running job was planned with.

    A job's shards stay the same for its whole life, because its cursor counts rows of each. Where
    a database cuts its shards anew when nodes come or go, this finds the old ones on the new
    ring; elsewhere it changes nothing.

    Raises:
        ConfigurationError: there is no such kind of database, or an id is none of its shards.
    """
    refitted: Topology = _module(kind).refit(topology, shards)
    return refitted


def _module(kind: str) -> ModuleType:
    if kind not in _KINDS:
        raise ConfigurationError(f"database '{kind}' is not known{nearest(kind, _KINDS)}")
    return importlib.import_module(_KINDS[kind])
