"""The statements that read rows: those of a range of tokens, and the rest of a partition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from insitu.databases.cassandra.packing import COUNT, Packing
from insitu.databases.cassandra.protocol.messages import long_value
from insitu.databases.cassandra.ranges import TokenRange, format_range
from insitu.databases.cassandra.reading.keys import RowKey


@dataclass(frozen=True, slots=True)
class Clustering:
    """A clustering column; `descending` where the table keeps its rows in the reverse order."""

    name: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Portion:
    """The rows that one statement gives for some values, page by page and in the table's order.

    `name` is for messages. `full` tells that the rows have all columns that a reader asks for.
    """

    cql: str
    values: tuple[bytes, ...]
    name: str
    full: bool = True


@dataclass(frozen=True)
class Select:
    """`columns` of the rows of a table that meet the further conditions `where`.

    `key` are the columns of the table's partition key, in its own order. With a `packing` the
    columns are those of its samples.
    """

    keyspace: str
    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    where: str | None = None
    packing: Packing | None = None
    clustering: tuple[Clustering, ...] = ()

    @property
    def stored(self) -> tuple[str, ...]:
        """The columns of the rows that hold what is wanted."""
        return self.columns if self.packing is None else (COUNT, *self.columns)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """What is asked for: first the wanted columns, then those of the primary key that are not
        wanted.

        The primary key tells where reading goes on after an interruption.
        """
        names = (*self.key, *(column.name for column in self.clustering))
        return (*self.stored, *(name for name in names if name not in self.stored))

    @property
    def key_places(self) -> tuple[int, ...]:
        """Where the columns of the partition key are among those asked for."""
        return tuple(self.asked.index(name) for name in self.key)

    @property
    def clustering_places(self) -> tuple[int, ...]:
        """Where the clustering columns are among those asked for."""
        return tuple(self.asked.index(column.name) for column in self.clustering)

    @property
    def cql(self) -> str:
        """The rows of a range; takes the tokens to start after and to end with."""
        return self._rows(self._tokens)

    @property
    def partitions_cql(self) -> str:
        """The partition keys of a range; takes the same."""
        key = ", ".join(map(quoted, self.key))
        return f"SELECT DISTINCT {key} FROM {self._table} WHERE {self._tokens}"  # noqa: S608 - quoted

    @property
    def partition_cql(self) -> str:
        """One partition; takes its key."""
        return self._rows(self._partition)

    @property
    def rest_cql(self) -> tuple[str, ...]:
        """What follows a row in its partition, the row itself included, one after the other.

        The first takes the partition key and all clustering columns, each further one takes one
        clustering column less. Where some columns descend and others do not, no single condition
        says as much.
        """
        found = []
        for last in reversed(range(len(self.clustering))):
            same = [f"{quoted(column.name)} = ?" for column in self.clustering[:last]]
            column = self.clustering[last]
            beyond = "<" if column.descending else ">"
            equal = "=" if last == len(self.clustering) - 1 else ""
            found.append(
                self._rows(
                    " AND ".join(
                        [self._partition, *same, f"{quoted(column.name)} {beyond}{equal} ?"]
                    )
                )
            )
        return tuple(found)

    @property
    def continuing(self) -> tuple[str, ...]:
        """All statements that go on inside of a partition; none where partitions are rows."""
        if not self.clustering:
            return ()
        return (self.partitions_cql, self.partition_cql, *self.rest_cql)

    def range(self, tokens: TokenRange) -> Portion:
        """The rows of `tokens`."""
        bounds = (long_value(tokens.start), long_value(tokens.end))
        return Portion(self.cql, bounds, f"the range {format_range(tokens)}")

    def partitions(self, token: int) -> Portion:
        """The keys of all partitions with this token: one, or hardly ever two."""
        bounds = (long_value(token - 1), long_value(token))
        return Portion(self.partitions_cql, bounds, f"the token {token}", full=False)

    def rest(self, start: RowKey, partitions: Sequence[tuple[bytes, ...]]) -> Iterator[Portion]:
        """The rows from `start` on in those `partitions` of its token that are not before it."""
        name = f"the partition of token {start.token}"
        for partition in partitions:
            if partition != start.partition:
                yield Portion(self.partition_cql, partition, name)
                continue
            for dropped, cql in enumerate(self.rest_cql):
                clustering = start.clustering[: len(start.clustering) - dropped]
                yield Portion(cql, (*partition, *clustering), name)

    @property
    def _table(self) -> str:
        return f"{quoted(self.keyspace)}.{quoted(self.table)}"

    @property
    def _tokens(self) -> str:
        key = ", ".join(map(quoted, self.key))
        return f"token({key}) > ? AND token({key}) <= ?"

    @property
    def _partition(self) -> str:
        return " AND ".join(f"{quoted(name)} = ?" for name in self.key)

    def _rows(self, condition: str) -> str:
        columns = ", ".join(map(quoted, self.asked))
        clauses = [f"SELECT {columns} FROM {self._table} WHERE {condition}"]  # noqa: S608 - quoted
        if self.where is not None:
            clauses.append(f"AND {self.where} ALLOW FILTERING")
        return " ".join(clauses)


def quoted(name: str) -> str:
    """A name as CQL takes it exactly as it is.

    >>> quoted("Label")
    '"Label"'
    """
    return '"' + name.replace('"', '""') + '"'
