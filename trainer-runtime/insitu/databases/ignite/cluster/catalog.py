"""Which cache a table's name means: a cache by its own name, or a table of SQL."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from insitu.databases.ignite.binary.hashes import cache_id
from insitu.databases.ignite.protocol import sql
from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.protocol.faults import ServerError
from insitu.databases.ignite.protocol.frames import read_string
from insitu.errors import ConfigurationError, nearest

_CACHE_NAMES = 1050
_DEFAULT_SCHEMA = "PUBLIC"


@dataclass(frozen=True, slots=True)
class SqlName:
    """A table as SQL knows it, in the spelling the server keeps."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{sql.quoted(self.schema)}.{sql.quoted(self.name)}"


@dataclass(frozen=True, slots=True)
class Table:
    """A cache; `sql` is the SQL table over it, where there is one."""

    cache: str
    sql: SqlName | None = None

    @property
    def cache_id(self) -> int:
        """How requests name the cache."""
        return cache_id(self.cache)


def find_table(connection: Connection, name: str) -> Table:
    """The table called `name`.

    A cache's own name comes first, exactly as written; then a SQL table, `TABLE` of schema PUBLIC
    or `SCHEMA.TABLE`, in any case.

    Raises:
        ConfigurationError: there is none; the message has the nearest name.
    """
    tables = _sql_tables(connection)
    caches = _cache_names(connection)
    if name in caches:
        over = [known for known, cache in tables if cache == name]
        # Several tables over one cache: the cache is meant, and no one table tells its columns.
        return Table(name, over[0] if len(over) == 1 else None)
    wanted = _split(name)
    same = [(known, cache) for known, cache in tables if _folded(known) == _folded(wanted)]
    for known, cache in sorted(same, key=lambda found: found[0] != wanted):
        return Table(cache, known)
    raise ConfigurationError(
        f"Ignite at {connection.where} has no cache or SQL table '{name}'"
        + nearest(name, {*caches, *(_spoken(known) for known, _ in tables)})
    )


def has_sql(connection: Connection) -> bool:
    """Whether the node runs a SQL engine, and with it the system views.

    Raises:
        ServerError: it does not say, for another reason.
    """
    try:
        sql.query(connection, "SELECT 1")
    except ServerError as error:
        if not error.no_sql:
            raise
        return False
    return True


def _cache_names(connection: Connection) -> set[str]:
    body = connection.request(_CACHE_NAMES)
    (count,) = struct.unpack_from("<i", body)
    offset = 4
    names = set()
    for _ in range(count):
        name, offset = read_string(body, offset)
        names.add(name)
    return names


def _sql_tables(connection: Connection) -> list[tuple[SqlName, str]]:
    if not has_sql(connection):
        return []
    rows = sql.system_view(connection, "SELECT SCHEMA_NAME, TABLE_NAME, CACHE_NAME FROM SYS.TABLES")
    return [(SqlName(schema, name), cache) for schema, name, cache in rows]


def _split(name: str) -> SqlName:
    schema, dot, table = name.partition(".")
    return SqlName(schema, table) if dot else SqlName(_DEFAULT_SCHEMA, name)


def _folded(name: SqlName) -> tuple[str, str]:
    return name.schema.upper(), name.name.upper()


def _spoken(name: SqlName) -> str:
    """As a person would write it."""
    return name.name if name.schema == _DEFAULT_SCHEMA else f"{name.schema}.{name.name}"
