"""How the two halves of a row, key and value, become the columns of a batch.

Arrow is loaded by who asks for its types: looking a table up takes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from insitu.databases.ignite.columns.shape import Shape
from insitu.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: the whole key or value of each row, or a field of it.

    `field` is spelled as the cluster's metadata spells it; its id is `hashes.field_id(field)`.
    """

    name: str
    of_key: bool
    field: str | None
    shape: Shape

    @property
    def path(self) -> str:
        """What errors call it: `val.address`."""
        part = "key" if self.of_key else "val"
        return part if self.field is None else f"{part}.{self.field}"

    @property
    def type(self) -> pa.DataType:
        """The Arrow type of `shape`."""
        from insitu.databases.ignite.columns.arrow_types import arrow_type

        return arrow_type(self.shape)


@dataclass(frozen=True)
class RowLayout:
    """The columns of a table, and the only binary types (ids) their fields are taken from.

    `key_type` and `value_type` are None where the part is no object.
    """

    columns: tuple[Column, ...]
    key_type: int | None = None
    value_type: int | None = None

    @cached_property
    def schema(self) -> pa.Schema:
        """Of every batch."""
        import pyarrow as pa

        return pa.schema([(column.name, column.type) for column in self.columns])

    def select(self, names: Sequence[str] | None) -> RowLayout:
        """Only the columns asked for, in that order and by these names; None is all.

        A name means the column spelled exactly so, else the one that differs in case alone.

        Raises:
            ConfigurationError: there is no such column, or a name comes twice.
        """
        if names is None:
            return self
        if not names:
            raise ConfigurationError("columns: the list is empty; leave it out to read them all")
        for name in names:
            if list(names).count(name) > 1:
                raise ConfigurationError(f"columns: '{name}' is listed twice")
        chosen = tuple(replace(self._find(name), name=name) for name in names)
        return replace(self, columns=chosen)

    def _find(self, name: str) -> Column:
        known = {column.name: column for column in self.columns}
        if name in known:
            return known[name]
        # Names that differ in case alone do not occur: Ignite's own ids of fields ignore case.
        folded = {column.name.casefold(): column for column in self.columns}
        if name.casefold() in folded:
            return folded[name.casefold()]
        raise ConfigurationError(f"columns: the table has no '{name}'{nearest(name, known)}")
