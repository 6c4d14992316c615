"""The statement that reads the rows of a range of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from insitu.databases.cassandra.packing import COUNT, Packing


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

    @property
    def stored(self) -> tuple[str, ...]:
        """The columns of the rows that hold what is wanted."""
        return self.columns if self.packing is None else (COUNT, *self.columns)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """What is asked for: first the wanted columns, then those of the key that are not wanted.

        The key tells a row's token, and that is where reading goes on after an interruption.
        """
        return (*self.stored, *(name for name in self.key if name not in self.stored))

    @property
    def key_places(self) -> tuple[int, ...]:
        """Where the columns of the key are among those asked for."""
        return tuple(self.asked.index(name) for name in self.key)

    @property
    def cql(self) -> str:
        """To be prepared; takes the tokens to start after and to end with."""
        key = ", ".join(map(quoted, self.key))
        clauses = [
            f"SELECT {', '.join(map(quoted, self.asked))}",
            f"FROM {quoted(self.keyspace)}.{quoted(self.table)}",
            f"WHERE token({key}) > ? AND token({key}) <= ?",
        ]
        if self.where is not None:
            clauses.append(f"AND {self.where} ALLOW FILTERING")
        return " ".join(clauses)


def quoted(name: str) -> str:
    """A name as CQL takes it exactly as it is.

    >>> quoted("Label")
    '"Label"'
    """
    return '"' + name.replace('"', '""') + '"'
