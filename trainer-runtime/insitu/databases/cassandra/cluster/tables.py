"""Finds the table in the servers' schema, and refuses what can't be trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from insitu.databases.cassandra.cluster.ring import Replication, parse_replication
from insitu.errors import ConfigurationError, nearest


class Ask(Protocol):
    """Rows of a CQL statement as named tuples."""

    def __call__(self, statement: str, *arguments: object) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class TableName:
    """Names as the servers store them: without quotes, in their own case."""

    keyspace: str
    table: str

    def __str__(self) -> str:
        return f"{self.keyspace}.{self.table}"

    @property
    def cql(self) -> str:
        """As CQL spells it."""
        return f"{quoted(self.keyspace)}.{quoted(self.table)}"


@dataclass(frozen=True, slots=True)
class TableColumn:
    """`kind` is partition_key, clustering, static or regular; `type` is CQL."""

    name: str
    kind: str
    position: int
    type: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table as its servers describe it. `id` is a new one each time it is created."""

    name: TableName
    id: str
    replication: Replication
    columns: tuple[TableColumn, ...]

    @property
    def partition_key(self) -> tuple[str, ...]:
        return self._key("partition_key")

    @property
    def clustering(self) -> tuple[str, ...]:
        return self._key("clustering")

    @property
    def token(self) -> str:
        """The CQL for a row's token."""
        return f"token({', '.join(map(quoted, self.partition_key))})"

    def _key(self, kind: str) -> tuple[str, ...]:
        of_kind = sorted((c for c in self.columns if c.kind == kind), key=lambda c: c.position)
        return tuple(column.name for column in of_kind)


def quoted(name: str) -> str:
    """A name in CQL."""
    return '"' + name.replace('"', '""') + '"'


def parse_name(table: str) -> TableName:
    """From `keyspace.table`.

    Raises:
        ConfigurationError: the keyspace is missing.
    """
    keyspace, dot, name = table.partition(".")
    if not (keyspace and dot and name):
        raise ConfigurationError(f"table '{table}': write keyspace.table")
    return TableName(keyspace.strip('"'), name.strip('"'))


def find_table(ask: Ask, name: TableName, columns: Iterable[str] = ()) -> Table:
    """The table called `name`, which has all of `columns`.

    Raises:
        ConfigurationError: a name is unknown, or there is a view or a virtual table behind it.
    """
    [replication, *_] = [
        row.replication
        for row in ask(
            "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s",
            name.keyspace,
        )
    ] or [None]
    if replication is None:
        _refuse_virtual(ask, name)
        known = [r.keyspace_name for r in ask("SELECT keyspace_name FROM system_schema.keyspaces")]
        ours = [keyspace for keyspace in known if not keyspace.startswith("system")]
        raise ConfigurationError(
            f"there is no keyspace '{name.keyspace}'{nearest(name.keyspace, ours)}"
        )
    rows = ask(
        "SELECT id FROM system_schema.tables WHERE keyspace_name = %s AND table_name = %s",
        name.keyspace,
        name.table,
    )
    if not rows:
        _refuse_view(ask, name)
        tables = ask(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", name.keyspace
        )
        raise ConfigurationError(
            f"keyspace '{name.keyspace}' has no table '{name.table}'"
            f"{nearest(name.table, [row.table_name for row in tables])}"
        )
    found = ask(
        "SELECT column_name, kind, position, type FROM system_schema.columns"
        " WHERE keyspace_name = %s AND table_name = %s",
        name.keyspace,
        name.table,
    )
    table = Table(
        name=name,
        id=str(rows[0].id),
        replication=parse_replication(name.keyspace, dict(replication)),
        columns=tuple(TableColumn(r.column_name, r.kind, r.position, r.type) for r in found),
    )
    check_columns(table, columns)
    return table


def check_columns(table: Table, wanted: Iterable[str]) -> None:
    """Raises `ConfigurationError` for a column that `table` does not have."""
    known = [column.name for column in table.columns]
    for column in wanted:
        if column not in known:
            raise ConfigurationError(
                f"table {table.name} has no column '{column}'{nearest(column, known)}"
            )


def _refuse_view(ask: Ask, name: TableName) -> None:
    views = ask(
        "SELECT base_table_name FROM system_schema.views"
        " WHERE keyspace_name = %s AND view_name = %s",
        name.keyspace,
        name.table,
    )
    if views:
        raise ConfigurationError(
            f"{name} is a materialized view, and a view may lag behind its table: rows could be"
            f" missed or read twice. Train on its table {name.keyspace}.{views[0].base_table_name},"
            " or on a copy"
        )


def _refuse_virtual(ask: Ask, name: TableName) -> None:
    virtual = ask("SELECT keyspace_name FROM system_virtual_schema.keyspaces")
    if name.keyspace in {row.keyspace_name for row in virtual}:
        raise ConfigurationError(
            f"{name} is a virtual table: each node makes up rows of its own about itself there,"
            " and they are no table to train on"
        )
