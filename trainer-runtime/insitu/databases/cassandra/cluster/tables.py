"""Finds the table in the servers' schema, and refuses what can't be trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from insitu.databases.cassandra.cluster.ring import Replication, parse_replication
from insitu.databases.cassandra.packing import Packing, parse
from insitu.databases.cassandra.reading.statement import Clustering, quoted
from insitu.errors import ConfigurationError, nearest

Ask = Callable[[str], Sequence[Mapping[str, Any]]]
"""Rows of a CQL statement, by column."""

_KEYSPACES = "SELECT keyspace_name FROM system_schema.keyspaces"


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
    """`kind` is partition_key, clustering, static or regular; `type` is CQL. Rows of a partition
    are kept in the reverse order of a clustering column that is `descending`.
    """

    name: str
    kind: str
    position: int
    type: str
    # The table's id tells of another order, so the topology's version need not.
    descending: bool = field(default=False, repr=False)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as its servers describe it. `id` is a new one each time it is created.

    `packing` says what a row holds where it is not one sample but many.
    """

    name: TableName
    id: str
    replication: Replication
    columns: tuple[TableColumn, ...]
    packing: Packing | None = None

    @property
    def partition_key(self) -> tuple[str, ...]:
        return self._key("partition_key")

    @property
    def clustering(self) -> tuple[str, ...]:
        return self._key("clustering")

    @property
    def clustering_order(self) -> tuple[Clustering, ...]:
        """The clustering columns as rows of a partition are in their order."""
        descending = {column.name for column in self.columns if column.descending}
        return tuple(Clustering(name, name in descending) for name in self.clustering)

    @property
    def token(self) -> str:
        """The CQL for a row's token."""
        return f"token({', '.join(map(quoted, self.partition_key))})"

    @property
    def first_row(self) -> str:
        """The CQL for the least that reading it takes."""
        return f"SELECT {quoted(self.partition_key[0])} FROM {self.name.cql} LIMIT 1"  # noqa: S608 - quoted

    def first_row_in(self, start: int, end: int) -> str:
        """As `first_row`, with a token above `start` and up to `end`."""
        condition = f"{self.token} > {start} AND {self.token} <= {end}"
        return (
            f"SELECT {quoted(self.partition_key[0])} FROM {self.name.cql}"  # noqa: S608 - quoted
            f" WHERE {condition} LIMIT 1"
        )

    def _key(self, kind: str) -> tuple[str, ...]:
        of_kind = sorted((c for c in self.columns if c.kind == kind), key=lambda c: c.position)
        return tuple(column.name for column in of_kind)


def parse_name(table: str) -> TableName:
    """From `keyspace.table`.

    Raises:
        ConfigurationError: the keyspace is missing.
    """
    keyspace, dot, name = table.partition(".")
    if not (keyspace and dot and name):
        raise ConfigurationError(f"table '{table}': write keyspace.table")
    return TableName(keyspace.strip('"'), name.strip('"'))


def find_table(ask: Ask, name: TableName) -> Table:
    """The table called `name`.

    Raises:
        ConfigurationError: the name is unknown, or there is a view or a virtual table behind it.
    """
    found = look_up(ask, name)
    if found is not None:
        return found
    _refuse_virtual(ask, name)
    _refuse_view(ask, name)
    keyspaces = [row["keyspace_name"] for row in ask(_KEYSPACES)]
    if name.keyspace not in keyspaces:
        ours = [keyspace for keyspace in keyspaces if not keyspace.startswith("system")]
        raise ConfigurationError(
            f"there is no keyspace '{name.keyspace}'{nearest(name.keyspace, ours)}"
        )
    tables = ask(_select("table_name", "tables", keyspace_name=name.keyspace))
    raise ConfigurationError(
        f"keyspace '{name.keyspace}' has no table '{name.table}'"
        f"{nearest(name.table, [row['table_name'] for row in tables])}"
    )


def look_up(ask: Ask, name: TableName) -> Table | None:
    """The table called `name`; None if there is none.

    Raises:
        ConfigurationError: its rows are placed in a way that is not known here.
    """
    of_table = {"keyspace_name": name.keyspace, "table_name": name.table}
    rows = ask(_select("id, comment", "tables", **of_table))
    if not rows:
        return None
    [keyspace] = ask(_select("replication", "keyspaces", keyspace_name=name.keyspace))
    columns = ask(
        _select("column_name, kind, position, type, clustering_order", "columns", **of_table)
    )
    return Table(
        name=name,
        id=str(rows[0]["id"]),
        replication=parse_replication(name.keyspace, dict(keyspace["replication"])),
        columns=tuple(
            TableColumn(
                row["column_name"],
                row["kind"],
                row["position"],
                row["type"],
                descending=row["clustering_order"] == "desc",
            )
            for row in columns
        ),
        packing=parse(rows[0]["comment"] or ""),
    )


def selected(table: Table, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The `wanted` columns; by default all, those of the key first and the others by name. Of a
    packed table they are those of its samples.

    Raises:
        ConfigurationError: `table` has no such column.
    """
    others = sorted(c.name for c in table.columns if c.kind not in ("partition_key", "clustering"))
    known = (*table.partition_key, *table.clustering, *others)
    if table.packing is not None:
        known = tuple(table.packing.schema.names)
    for column in wanted or ():
        if column not in known:
            raise ConfigurationError(
                f"table {table.name} has no column '{column}'{nearest(column, known)}"
            )
    return tuple(wanted) if wanted is not None else known


def text(value: str) -> str:
    """A string in CQL."""
    return "'" + value.replace("'", "''") + "'"


def _select(columns: str, view: str, **where: str) -> str:
    conditions = " AND ".join(f"{column} = {text(value)}" for column, value in where.items())
    return f"SELECT {columns} FROM system_schema.{view} WHERE {conditions}"  # noqa: S608 - quoted


def _refuse_view(ask: Ask, name: TableName) -> None:
    views = ask(
        _select("base_table_name", "views", keyspace_name=name.keyspace, view_name=name.table)
    )
    if views:
        raise ConfigurationError(
            f"{name} is a materialized view, and a view may lag behind its table: rows could be"
            f" missed or read twice. Train on its table"
            f" {name.keyspace}.{views[0]['base_table_name']}, or on a copy"
        )


def _refuse_virtual(ask: Ask, name: TableName) -> None:
    if name.keyspace.startswith("system") and name.keyspace in {
        row["keyspace_name"]
        for row in ask("SELECT keyspace_name FROM system_virtual_schema.keyspaces")
    }:
        raise ConfigurationError(
            f"{name} is a virtual table: each node makes up rows of its own about itself there,"
            " and they are no table to train on"
        )
