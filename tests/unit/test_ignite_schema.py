"""Columns of Ignite tables: their names, types and values, and what has none."""

from __future__ import annotations

import decimal
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.binary.metadata import BinaryTypes, enum_type, object_type
from insitu.databases.ignite.binary.values import (
    Array,
    Char,
    Collection,
    Enum,
    Map,
    ObjectArray,
    Row,
    Value,
)
from insitu.databases.ignite.columns.arrow import rows_to_batch
from insitu.databases.ignite.columns.layout import RowLayout
from insitu.databases.ignite.columns.schema import SqlColumn, SqlTable, plan_layout
from insitu.errors import ConfigurationError, UnsupportedType
from tests.ignite_values import NO_TYPES, VALUES, binary_object, types_of

LONG = "java.lang.Long"
STRING = "java.lang.String"


def layout_of(*values: Value, table: SqlTable | None = None) -> RowLayout:
    """Of a cache that holds `values` under the keys 0, 1, ..."""
    return plan_layout(table, types_of(*values), rows_of(*values))


def rows_of(*values: Value) -> list[Row]:
    return [(np.int64(key), value) for key, value in enumerate(values)]


def column_of(*values: Value) -> pa.Array:
    return rows_to_batch(rows_of(*values), layout_of(*values)).column("value")


def table(*columns: SqlColumn, **options: Any) -> SqlTable:
    return SqlTable(**{"key_type": LONG, "value_type": "P", "columns": columns, **options})


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        (np.int8(-1), pa.int8(), -1),
        (np.int16(-1), pa.int16(), -1),
        (np.int32(-1), pa.int32(), -1),
        (np.int64(-1), pa.int64(), -1),
        (np.float32(0.5), pa.float32(), 0.5),
        (np.float64(0.1), pa.float64(), 0.1),
        (True, pa.bool_(), True),
        (Char(0x20AC), pa.string(), "€"),
        ("a\0😀", pa.string(), "a\0😀"),
        (b"\0\1", pa.binary(), b"\0\1"),
        (uuid.UUID(int=7), pa.uuid(), uuid.UUID(int=7)),
        (np.array([1, 2], "<i2"), pa.list_(pa.int16()), [1, 2]),
        (np.array([True, False]), pa.list_(pa.bool_()), [True, False]),
        (np.array([], "<f4"), pa.list_(pa.float32()), []),
        (Array(Code.CHAR_ARRAY, (Char(65),)), pa.list_(pa.string()), ["A"]),
        (Array(Code.STRING_ARRAY, ("a", None)), pa.list_(pa.string()), ["a", None]),
        (Array(Code.UUID_ARRAY, (uuid.UUID(int=1),)), pa.list_(pa.uuid()), [uuid.UUID(int=1)]),
        (Array(Code.STRING_ARRAY, ()), pa.list_(pa.string()), []),
        (Collection(("a", None), 3), pa.list_(pa.string()), ["a", None]),
        (ObjectArray((np.int32(1),)), pa.list_(pa.int32()), [1]),
        (Map((("a", np.int64(1)),)), pa.map_(pa.string(), pa.int64()), [("a", 1)]),
        (Enum(5, 1), pa.int32(), 1),
        (None, pa.null(), None),
        (decimal.Decimal("1.5"), pa.decimal128(38, 9), decimal.Decimal("1.5")),
        (decimal.Decimal("1e40"), pa.decimal256(76, 9), decimal.Decimal("1e40")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_type_of_ignite_has_one_of_arrow(
    value: Value, type_: pa.DataType, expected: object
) -> None:
    column = column_of(value)
    assert column.type == type_
    assert column.to_pylist() == [expected]


def test_instants_keep_their_milliseconds_and_nanoseconds() -> None:
    assert column_of(np.datetime64(-5, "ms")).cast(pa.int64()).to_pylist() == [-5]
    assert column_of(np.datetime64(123456789, "ns")).cast(pa.int64()).to_pylist() == [123456789]
    assert column_of(np.datetime64(5, "ns")).type == pa.timestamp("ns")
    assert column_of(np.datetime64(5, "ms")).type == pa.timestamp("ms")


def test_a_time_of_a_server_east_of_greenwich_is_the_time_in_utc() -> None:
    assert column_of(np.timedelta64(-1, "ms")).cast(pa.int32()).to_pylist() == [86_399_999]


def test_an_enum_with_names_is_a_string() -> None:
    color = enum_type("Color", {0: "RED"})
    types = BinaryTypes({color.id: color}.get)
    rows = rows_of(Enum(color.id, 0, "RED"), Enum(color.id, 7))
    layout = plan_layout(None, types, rows)
    assert rows_to_batch(rows[:1], layout)["value"].to_pylist() == ["RED"]
    with pytest.raises(UnsupportedType, match=r"val: enum .* has no name for its ordinal 7"):
        rows_to_batch(rows, layout)


def test_nested_objects_are_structs_with_everything_inside() -> None:
    inner = binary_object("Place", id=uuid.UUID(int=3), tags=Collection(("a",)))
    column = column_of(Collection((inner, None)))
    assert column.to_pylist() == [[{"id": uuid.UUID(int=3), "tags": ["a"]}, None]]


def test_fields_of_the_value_are_columns_beside_the_key() -> None:
    row = binary_object("P", a=np.int32(1), b="x")
    assert layout_of(row).schema.names == ["key", "a", "b"]


def test_schemas_of_one_type_merge_and_missing_fields_are_null() -> None:
    values = binary_object("P", a=np.int32(1)), binary_object("P", b="x")
    batch = rows_to_batch(rows_of(*values), layout_of(*values))
    assert batch.drop_columns(["key"]).to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_a_key_that_is_an_object_is_a_struct() -> None:
    key = binary_object("K", a=np.int32(1))
    layout = plan_layout(None, types_of(key), [(key, "x")])
    assert rows_to_batch([(key, "x")], layout).to_pylist() == [{"key": {"a": 1}, "value": "x"}]


@pytest.mark.parametrize(
    ("fields", "names"),
    [(["key"], ["_key", "key"]), (["Key", "_key"], ["__key", "Key", "_key"])],
)
def test_a_key_whose_name_is_taken_gets_underscores(fields: list[str], names: list[str]) -> None:
    row = binary_object("P", b"", **dict.fromkeys(fields, "x"))
    assert layout_of(row).schema.names == names


def test_sql_names_the_columns_and_orders_them() -> None:
    sql = table(
        SqlColumn("ID", LONG, key=True),
        SqlColumn("B", STRING),
        SqlColumn("A", STRING),
        key_alias="ID",
    )
    row = binary_object("P", a="x", extra="y", b="z")
    assert layout_of(row, table=sql).schema.names == ["ID", "B", "A", "extra"]


def test_a_field_of_the_value_gives_way_to_the_key_column_of_sql() -> None:
    sql = table(SqlColumn("ID", LONG, key=True), SqlColumn("A", STRING), key_alias="ID")
    row = binary_object("P", id="x", a="y")
    assert layout_of(row, table=sql).schema.names == ["ID", "A", "_id"]


def test_a_primary_key_of_several_columns_is_these_columns() -> None:
    sql = table(
        SqlColumn("A", LONG, key=True),
        SqlColumn("B", STRING, key=True),
        SqlColumn("V", LONG),
        key_type="K",
    )
    row = binary_object("K", A=np.int64(1), B="x"), binary_object("P", V=np.int64(2))
    layout = plan_layout(sql, types_of(*row), [row])
    assert rows_to_batch([row], layout).to_pylist() == [{"A": 1, "B": "x", "V": 2}]


def test_a_value_that_sql_gives_a_name_is_one_column() -> None:
    sql = table(
        SqlColumn("ID", LONG, key=True),
        SqlColumn("V", STRING),
        value_type=STRING,
        key_alias="ID",
        value_alias="V",
    )
    assert layout_of("x", table=sql).schema == pa.schema({"ID": pa.int64(), "V": pa.string()})


def test_an_empty_table_has_the_schema_that_sql_declares() -> None:
    sql = table(
        SqlColumn("ID", LONG, key=True),
        SqlColumn("D", "java.math.BigDecimal", precision=10, scale=3),
        SqlColumn("T", "java.sql.Timestamp"),
        key_alias="ID",
    )
    layout = plan_layout(sql, NO_TYPES, [])
    assert layout.schema == pa.schema(
        {"ID": pa.int64(), "D": pa.decimal128(10, 3), "T": pa.timestamp("ns")}
    )
    assert rows_to_batch([], layout).num_rows == 0


def test_an_empty_table_has_the_fields_that_the_binary_metadata_lists() -> None:
    fields = {"a": Code.FLOAT_ARRAY, "b": Code.ENUM, "c": Code.MAP, "d": Code.STRING_ARRAY}
    kind = object_type("P", fields)
    layout = plan_layout(table(), BinaryTypes({kind.id: kind}.get), [])
    assert layout.select(["a", "b", "c", "d"]).schema.types == [
        pa.list_(pa.float32()),
        pa.string(),
        pa.map_(pa.string(), pa.null()),
        pa.list_(pa.string()),
    ]


def test_a_column_that_was_added_and_never_written_is_null() -> None:
    sql = table(SqlColumn("A", STRING), SqlColumn("NEW", LONG))
    row = binary_object("P", A="x")
    batch = rows_to_batch(rows_of(row), layout_of(row, table=sql).select(["A", "NEW"]))
    assert batch.to_pylist() == [{"A": "x", "NEW": None}]


def test_another_name_of_a_nested_field_is_no_column_of_its_own() -> None:
    sql = table(SqlColumn("STREET", STRING))
    row = binary_object("P", address=binary_object("A", street="x"))
    assert layout_of(row, table=sql).schema.names == ["key", "address"]


def test_columns_are_found_by_exact_name_or_in_any_case() -> None:
    layout = layout_of(binary_object("P", Age=np.int32(1), name="x"))
    assert layout.select(["name", "AGE"]).schema == pa.schema(
        {"name": pa.string(), "AGE": pa.int32()}
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nam"], r"the table has no 'nam' \(did you mean 'name'\?\)"),
        (["name", "name"], "'name' is listed twice"),
        ([], "the list is empty"),
    ],
)
def test_a_wrong_list_of_columns_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"columns: {message}"):
        layout_of(binary_object("P", name="x")).select(names)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((np.int32(1), np.int64(1)), "val: int and long in one place"),
        ((Collection(("a", np.int32(1))),), r"val\[1\]: string and int in one place"),
        ((binary_object("P"), binary_object("Q")), "val: object P and object Q in one place"),
        ((Enum(1, 0), Enum(2, 0)), "val: enum 1 and enum 2 in one place"),
        ((binary_object("P", raw=b"x"),), "val: P holds raw data"),
        (
            (binary_object("P", m=Map((("a", np.float64(1.5)), ("b", "c")))),),
            r"val\.m\.value: double and string in one place",
        ),
    ],
)
def test_what_has_no_single_type_is_refused_with_its_path(
    values: tuple[Value, ...], message: str
) -> None:
    with pytest.raises(UnsupportedType, match=message):
        layout_of(*values)


@pytest.mark.parametrize(
    ("known", "later", "message"),
    [
        (np.int32(1), "x", "val: a str in a column of int"),
        (np.float32(1), np.float64(0.1), "val: a float64 in a column of float"),
        (Collection(()), Collection(("x",)), r"val\[0\]: a str where .* said nothing but null"),
        (Collection(("x",)), Collection(("x", b"y")), r"val\[1\]: a bytes in a column of string"),
        (np.array([1.0]), np.array([1], "<i4"), "val: a ndarray in a column of list of double"),
        (decimal.Decimal(1), decimal.Decimal("1e-10"), "val: 1E-10 does not fit decimal128"),
        (decimal.Decimal(1), decimal.Decimal("1e29"), r"val: 1E\+29 does not fit decimal128"),
        (Char(65), Char(0xD83D), "val: half of a surrogate pair"),
        (Map((("a", "b"),)), Map(((None, "b"),)), r"val\.key\[0\]: .* can't hold a null key"),
        (binary_object("P", a="x"), binary_object("Q", a="x"), "val: a Q among objects of"),
        (binary_object("P", a="x"), "x", "val: a str among objects of"),
        (
            binary_object("P", a=binary_object("Q", street=Collection(("x",)))),
            binary_object(
                "P", a=binary_object("Q", street=Collection(("x", None, np.float64(1.5))))
            ),
            r"^val\.a\.street\[2\]: a float64 in a column of string",
        ),
    ],
)
def test_a_row_that_does_not_fit_the_schema_is_refused_with_its_path(
    known: Value, later: Value, message: str
) -> None:
    with pytest.raises(UnsupportedType, match=message):
        rows_to_batch(rows_of(later), layout_of(known))


@given(VALUES)
def test_every_value_fills_a_column_or_is_refused_with_its_path(value: Value) -> None:
    try:
        layout = layout_of(value, value)
        batch = rows_to_batch(rows_of(value, value), layout)
    except UnsupportedType as refusal:
        assert refusal.path.startswith("val")  # noqa: PT017 - most values are not refused
    else:
        batch.validate(full=True)
        assert batch.schema == layout.schema
        assert batch.num_rows == 2
