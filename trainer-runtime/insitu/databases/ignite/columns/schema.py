"""Which columns a table has, from what SQL, the binary metadata and a sample of its rows say.

- The fields of a value that is an object are columns of their own. They have the names that SQL
  gives them where there is a SQL table, in the order of its columns; fields that SQL does not know
  follow by their own names. A value that is no object is one column, by its SQL name or `value`.
- A key is one column, by its SQL name or `key` (a struct if it is an object); the fields of a key
  that SQL knows as columns are columns of their own.
- Two columns never have the same name, whatever its case: SQL's own names come first, then the
  fields of the value, then those of the key; who comes later gets underscores in front (`_key`).

Metadata says which fields there are, a sample what metadata can't: what lists, maps and nested
objects hold, and the digits of decimals. All schemas of a type count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.binary.hashes import field_id, type_id
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.binary.values import Row
from insitu.databases.ignite.columns.infer import (
    merge,
    shape_of_code,
    shape_of_type,
    shape_of_values,
)
from insitu.databases.ignite.columns.layout import Column, RowLayout
from insitu.databases.ignite.columns.shape import DecimalShape, Nothing, Shape, StructShape


@dataclass(frozen=True, slots=True)
class SqlColumn:
    """A column as SQL declares it; `java` is its Java class, `key` whether the key holds it."""

    name: str
    java: str
    key: bool = False
    precision: int | None = None
    scale: int | None = None


@dataclass(frozen=True, slots=True)
class SqlTable:
    """A SQL table over a cache. `key_type` and `value_type` are names of Java classes or binary
    types; `key_alias` and `value_alias` are columns that stand for the whole key or value.
    """

    key_type: str
    value_type: str
    columns: tuple[SqlColumn, ...]
    key_alias: str | None = None
    value_alias: str | None = None


_JAVA: Final[Mapping[str, Code]] = MappingProxyType(
    {
        "java.lang.Byte": Code.BYTE,
        "java.lang.Short": Code.SHORT,
        "java.lang.Integer": Code.INT,
        "java.lang.Long": Code.LONG,
        "java.lang.Float": Code.FLOAT,
        "java.lang.Double": Code.DOUBLE,
        "java.lang.Character": Code.CHAR,
        "java.lang.Boolean": Code.BOOL,
        "java.lang.String": Code.STRING,
        "java.util.UUID": Code.UUID,
        "java.util.Date": Code.DATE,
        "java.sql.Date": Code.DATE,
        "java.sql.Timestamp": Code.TIMESTAMP,
        "java.sql.Time": Code.TIME,
        "java.math.BigDecimal": Code.DECIMAL,
        "[B": Code.BYTE_ARRAY,
        "[S": Code.SHORT_ARRAY,
        "[I": Code.INT_ARRAY,
        "[J": Code.LONG_ARRAY,
        "[F": Code.FLOAT_ARRAY,
        "[D": Code.DOUBLE_ARRAY,
        "[C": Code.CHAR_ARRAY,
        "[Z": Code.BOOL_ARRAY,
        "[Ljava.lang.String;": Code.STRING_ARRAY,
    }
)


def plan_layout(table: SqlTable | None, types: BinaryTypes, sample: Sequence[Row]) -> RowLayout:
    """The layout of all columns.

    Raises:
        UnsupportedType: the rows have no columns in common, or one of no single type; with a path.
    """
    key = shape_of_values((row[0] for row in sample), types, "key")
    value = shape_of_values((row[1] for row in sample), types, "val")
    if table is not None:
        key = merge(_declared(table, types, of_key=True), key, "key")
        value = merge(_declared(table, types, of_key=False), value, "val")
    columns = _columns(table, key, value)
    return RowLayout(
        columns,
        key.type_id if isinstance(key, StructShape) else None,
        value.type_id if isinstance(value, StructShape) else None,
    )


def _declared(table: SqlTable, types: BinaryTypes, *, of_key: bool) -> Shape:
    """What SQL and the binary metadata say of one part."""
    alias = table.key_alias if of_key else table.value_alias
    for column in table.columns:
        if column.name == alias:
            return _shape_of_column(column)
    name = table.key_type if of_key else table.value_type
    if name in _JAVA:
        return shape_of_code(_JAVA[name])
    if name == "java.lang.Object":
        return Nothing()
    kind = types.find(type_id(name))
    shape = shape_of_type(kind) if kind else StructShape(type_id(name), name, ())
    return _with_columns(shape, [each for each in table.columns if each.key == of_key], table)


def _with_columns(shape: StructShape, columns: list[SqlColumn], table: SqlTable) -> StructShape:
    """Refines the fields of `shape` by what SQL says of them, and adds those never written yet."""
    aliases = {table.key_alias, table.value_alias}
    by_id = {field_id(column.name): column for column in columns if column.name not in aliases}
    fields = {
        name: merge(_shape_of_column(by_id[field_id(name)]), field, name)
        if isinstance(field, DecimalShape | Nothing) and field_id(name) in by_id
        else field
        for name, field in shape.fields
    }
    written = {field_id(name) for name in fields}
    # Next to fields that SQL has no name for, a column without a field is another name of one of
    # them or of a field further inside: as a column of its own it would be nulls and nothing else.
    if written <= by_id.keys():
        for number, column in by_id.items():
            if number not in written:
                fields[column.name] = _shape_of_column(column)
    return StructShape(shape.type_id, shape.type_name, tuple(fields.items()))


def _shape_of_column(column: SqlColumn) -> Shape:
    code = _JAVA.get(column.java)
    if code == Code.DECIMAL and column.precision and column.scale is not None:
        return DecimalShape(column.precision - column.scale, column.scale, declared=True)
    return shape_of_code(code) if code is not None else Nothing()


def _columns(table: SqlTable | None, key: Shape, value: Shape) -> tuple[Column, ...]:
    found = [
        *_columns_of_part(table, key, of_key=True),
        *_columns_of_part(table, value, of_key=False),
    ]
    sql = [column.name for column in table.columns] if table else []
    ranked = sorted(found, key=lambda column: _place(sql, column.name))
    names: dict[Column, str] = {}
    for column in sorted(ranked, key=lambda column: (_place(sql, column.name), column.of_key)):
        name = column.name
        while name.casefold() in {taken.casefold() for taken in names.values()}:
            name = f"_{name}"
        names[column] = name
    return tuple(replace(column, name=names[column]) for column in ranked)


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


def _columns_of_part(table: SqlTable | None, shape: Shape, *, of_key: bool) -> list[Column]:
    alias = None
    names = {}
    if table is not None:
        alias = table.key_alias if of_key else table.value_alias
        names = {field_id(each.name): each.name for each in table.columns if each.key == of_key}
    if isinstance(shape, StructShape) and alias is None:
        fields = [(names.get(field_id(name)), name, field) for name, field in shape.fields]
        if not of_key or any(known for known, _, _ in fields):
            return [Column(known or name, of_key, name, field) for known, name, field in fields]
    return [Column(alias or ("key" if of_key else "value"), of_key, None, shape)]
