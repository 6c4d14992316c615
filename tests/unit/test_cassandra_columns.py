"""Rows become Arrow columns: by the general decoder as CQL says, and by the quick one just so."""

from __future__ import annotations

import datetime
import itertools
import struct
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cassandra.cqltypes import lookup_casstype
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from insitu.databases.cassandra.columns.classes import parse_class
from insitu.databases.cassandra.columns.general import general_batch
from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.columns.quick import batches_of, quick_batch
from insitu.databases.cassandra.columns.rows import locate
from insitu.databases.cassandra.columns.types import (
    Column,
    CqlType,
    ListOf,
    MapOf,
    Native,
    TupleOf,
    UserType,
    VectorOf,
    spell,
)
from insitu.errors import InsituError, ProtocolError, UnsupportedType
from tests.cassandra_values import INT, Cell, cell, page, tables, vint

Table = tuple[tuple[Column, ...], Page]
AS_NUMBERS = {
    pa.date32(): pa.int32(),
    pa.time64("ns"): pa.int64(),
    pa.timestamp("ms"): pa.int64(),
}
JAVA = "org.apache.cassandra.db.marshal."


def both(kind: CqlType, *values: Cell) -> pa.Array:
    """One column through both decoders, which have to agree."""
    columns = (Column("c", kind),)
    rows = page([[value] for value in values])
    quick, general = quick_batch(rows, columns), general_batch(rows, columns)
    quick.validate(full=True)
    assert same(quick, general)
    return quick.column(0)


def same(one: pa.RecordBatch, other: pa.RecordBatch) -> bool:
    """Whether all values are equal, and NaN to itself."""
    columns = zip(one.columns, other.columns, strict=True)
    return one.schema.equals(other.schema) and all(plain(a) == plain(b) for a, b in columns)


def plain(array: pa.Array) -> list[Any]:
    kind = array.type
    found: list[Any]
    if isinstance(kind, pa.BaseExtensionType):
        found = array.storage.to_pylist()
    elif pa.types.is_struct(kind):
        fields = (plain(array.field(number)) for number in range(kind.num_fields))
        found = list(zip(*fields, strict=True))
    elif pa.types.is_fixed_size_list(kind):
        values, size = plain(array.values), kind.list_size
        found = [values[n * size : (n + 1) * size] for n in range(len(array))]
    elif pa.types.is_map(kind) or pa.types.is_list(kind):
        values = plain(array.values)
        found = [values[a:b] for a, b in itertools.pairwise(array.offsets.to_pylist())]
    elif pa.types.is_floating(kind):  # a Python float has one NaN only
        found = ["NaN" if value != value else value for value in array.to_pylist()]
    elif kind in AS_NUMBERS:
        found = array.view(AS_NUMBERS[kind]).to_pylist()
    else:
        found = array.to_pylist()
    valid = array.is_valid().to_pylist()
    return [each if ok else None for each, ok in zip(found, valid, strict=True)]


def outcome(decode: Any, columns: tuple[Column, ...], rows: Page) -> pa.RecordBatch | None:
    try:
        batch = decode(rows, columns)
    except InsituError:
        return None
    batch.validate(full=True)
    return batch


@settings(max_examples=60)
@given(tables())
def test_the_quick_decoder_equals_the_general_one(table: Table) -> None:
    columns, rows = table
    one, other = outcome(quick_batch, columns, rows), outcome(general_batch, columns, rows)
    assert one == other or (one and other and same(one, other))


@settings(max_examples=60)
@given(tables(), st.data())
def test_damaged_pages_end_the_same_way_in_both(table: Table, data: st.DataObject) -> None:
    columns, whole = table
    raw = bytearray(whole.data)
    assume(len(raw) > whole.start)
    at = data.draw(st.integers(whole.start, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[at] = data.draw(st.integers(0, 255))
    else:
        del raw[at:]
    rows = Page(memoryview(bytes(raw)), whole.start, whole.count)
    one, other = outcome(quick_batch, columns, rows), outcome(general_batch, columns, rows)
    assert one == other or (one and other and same(one, other))


def alone(rows: Page, columns: tuple[Column, ...]) -> pa.RecordBatch:
    """Decoded as if all blobs were large: each row in a batch of its own."""
    batches = batches_of(columns, locate(rows, columns), large=0)
    assert any(column.type is Native.BLOB for column in columns) <= (len(batches) == rows.count)
    return pa.concat_batches(batches)


@settings(max_examples=60)
@given(tables())
def test_rows_with_large_blobs_are_those_of_the_general_decoder(table: Table) -> None:
    columns, rows = table
    assume(rows.count)
    one, other = outcome(alone, columns, rows), outcome(general_batch, columns, rows)
    assert one == other or (one and other and same(one, other))


def test_large_blobs_stay_in_the_page() -> None:
    columns = (Column("id", Native.INT), Column("b", Native.BLOB), Column("t", Native.TEXT))
    cells = [(INT.pack(1), b"abc", b"x"), (None, None, b""), (INT.pack(3), b"", None)]
    rows = page(cells)
    assert same(alone(rows, columns), general_batch(rows, columns))
    first, *_ = batches_of(columns, locate(rows, columns), large=0)
    received = np.frombuffer(rows.data, np.uint8)
    assert first.column("b").buffers()[2].address == received.ctypes.data


DRIVER: list[tuple[CqlType, str, Any, Any]] = [
    (Native.ASCII, "AsciiType", "abc", "abc"),
    (Native.BIGINT, "LongType", -(1 << 62), -(1 << 62)),
    (Native.BLOB, "BytesType", b"\x00\xff", b"\x00\xff"),
    (Native.BOOLEAN, "BooleanType", True, True),
    (Native.COUNTER, "CounterColumnType", 7, 7),
    (Native.DATE, "SimpleDateType", datetime.date(1969, 12, 31), datetime.date(1969, 12, 31)),
    (Native.DECIMAL, "DecimalType", Decimal("-1.25"), Decimal("-1.25")),
    (Native.DOUBLE, "DoubleType", 1.5, 1.5),
    (Native.FLOAT, "FloatType", -0.25, -0.25),
    (Native.INET, "InetAddressType", "10.0.0.1", "10.0.0.1"),
    (Native.INET, "InetAddressType", "fe80::1", "fe80::1"),
    (Native.INT, "Int32Type", -5, -5),
    (Native.SMALLINT, "ShortType", -300, -300),
    (Native.TEXT, "UTF8Type", "häß", "häß"),
    (Native.TINYINT, "ByteType", -3, -3),
    (Native.UUID, "UUIDType", uuid.UUID(int=5), uuid.UUID(int=5)),
    (Native.VARINT, "IntegerType", -(10**30), Decimal(-(10**30))),
    (ListOf(Native.INT), "ListType(Int32Type)", [1, 2], [1, 2]),
    (ListOf(Native.TEXT), "SetType(UTF8Type)", {"a"}, ["a"]),
    (MapOf(Native.TEXT, Native.INT), "MapType(UTF8Type, Int32Type)", {"a": 1}, [("a", 1)]),
    (
        TupleOf((Native.INT, Native.TEXT)),
        "TupleType(Int32Type, UTF8Type)",
        (1, None),
        {"0": 1, "1": None},
    ),
    (VectorOf(Native.FLOAT, 2), "VectorType(FloatType, 2)", [1.0, -2.0], [1.0, -2.0]),
    (VectorOf(Native.TEXT, 2), "VectorType(UTF8Type, 2)", ["", "ab"], ["", "ab"]),
    (
        VectorOf(VectorOf(Native.FLOAT, 2), 2),
        "VectorType(VectorType(FloatType, 2), 2)",
        [[1.0, 2.0], [3.0, 4.0]],
        [[1.0, 2.0], [3.0, 4.0]],
    ),
]


@pytest.mark.parametrize(("kind", "java", "value", "arrow"), DRIVER, ids=lambda v: str(v)[:40])
def test_what_the_driver_writes_comes_out(kind: CqlType, java: str, value: Any, arrow: Any) -> None:
    data = lookup_casstype(java).serialize(value, 4)
    assert both(kind, data, None, data).to_pylist() == [arrow, None, arrow]
    assert both(kind, data, data).to_pylist() == [arrow, arrow]


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (Native.BOOLEAN, b"\1"),
        (Native.DATE, struct.pack(">I", 1 << 31)),
        (Native.FLOAT, struct.pack(">f", 0.5)),
        (Native.UUID, uuid.UUID(int=5).bytes),
        (VectorOf(Native.FLOAT, 2), struct.pack(">2f", 0.5, 1.5)),
    ],
    ids=str,
)
def test_lists_of_one_length_are_read_at_once(kind: CqlType, item: bytes) -> None:
    three = INT.pack(3) + cell(item) * 3
    lists = both(ListOf(kind), three, three)
    assert lists.value_lengths().to_pylist() == [3, 3]
    assert len(set(map(str, lists.values.to_pylist()))) == 1


def test_lists_of_as_many_bytes_may_have_other_items() -> None:
    two, nulls = INT.pack(2) + cell(INT.pack(8)) * 2, INT.pack(4) + cell(None) * 4
    assert both(ListOf(Native.INT), two, nulls).to_pylist() == [[8, 8], [None] * 4]


def test_times_keep_their_unit() -> None:
    assert both(Native.TIME, struct.pack(">q", 1_000)).cast(pa.int64()).to_pylist() == [1_000]
    stamps = both(Native.TIMESTAMP, struct.pack(">q", -1))
    assert stamps.type == pa.timestamp("ms")
    assert stamps.cast(pa.int64()).to_pylist() == [-1]


def test_a_duration_has_months_days_and_nanoseconds() -> None:
    data = vint(1) + vint(4) + vint(1_000_001)
    assert both(Native.DURATION, data).to_pylist() == [pa.MonthDayNano([-1, 2, -500_001])]


def test_no_bytes_are_null_but_for_texts_and_blobs() -> None:
    assert both(Native.INT, b"", INT.pack(3)).to_pylist() == [None, 3]
    assert both(VectorOf(Native.FLOAT, 2), b"").to_pylist() == [None]
    assert both(ListOf(Native.INT), b"").to_pylist() == [None]
    assert both(Native.TEXT, b"", None).to_pylist() == ["", None]
    assert both(Native.BLOB, b"").to_pylist() == [b""]


def test_a_field_that_was_added_later_is_null() -> None:
    kind = UserType("point", (("x", Native.INT), ("y", Native.INT)))
    assert both(kind, cell(INT.pack(1))).to_pylist() == [{"x": 1, "y": None}]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Native.INT, b"abc"),
        (Native.TEXT, b"\xff"),
        (ListOf(Native.INT), INT.pack(1)),
        (ListOf(Native.INT), INT.pack(-1)),
        (TupleOf((Native.INT,)), cell(None) + cell(None)),
        (VectorOf(Native.FLOAT, 2), b"1234"),
        (VectorOf(Native.TEXT, 2), b"\x01a"),
    ],
    ids=str,
)
def test_bytes_that_are_no_such_value_raise(kind: CqlType, value: bytes) -> None:
    for decode in (quick_batch, general_batch):
        with pytest.raises(ProtocolError, match=r"^c"):
            decode(page([[value]]), (Column("c", kind),))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Native.DECIMAL, INT.pack(19) + b"\x01"),
        (Native.DECIMAL, INT.pack(-(1 << 30)) + b"\x01"),
        (Native.VARINT, b"\x7f" * 17),
        (MapOf(Native.INT, Native.INT), INT.pack(1) + cell(None) + cell(None)),
    ],
    ids=str,
)
def test_values_without_a_place_in_arrow_raise_with_their_path(kind: CqlType, value: bytes) -> None:
    for decode in (quick_batch, general_batch):
        with pytest.raises(UnsupportedType, match=r"^c"):
            decode(page([[value]]), (Column("c", kind),))


def test_pages_that_do_not_hold_their_rows_raise() -> None:
    whole = page([[INT.pack(1)], [INT.pack(2)]])
    for count in (0, 1, 3):
        wrong = Page(whole.data, 0, count)
        for decode in (quick_batch, general_batch):
            with pytest.raises(ProtocolError, match="page"):
                decode(wrong, (Column("c", Native.INT),))


def test_vectors_are_copied_once_and_not_each() -> None:
    values = np.arange(6, dtype=">f4").reshape(2, 3)
    column = both(VectorOf(Native.FLOAT, 3), *(row.tobytes() for row in values))
    assert column.values.to_pylist() == [0, 1, 2, 3, 4, 5]


CLASSES: list[tuple[str, str]] = [
    (f"{JAVA}VectorType({JAVA}FloatType , 256)", "vector<float, 256>"),
    (f"{JAVA}DurationType", "duration"),
    (f"{JAVA}FrozenType({JAVA}SetType({JAVA}UTF8Type))", "list<text>"),
    (f"{JAVA}ReversedType({JAVA}TimestampType)", "timestamp"),
    (f"{JAVA}VectorType({JAVA}UserType(ks,706f696e74,78:{JAVA}Int32Type), 2)", "vector<point, 2>"),
    (
        f"{JAVA}MapType({JAVA}IntegerType,{JAVA}TupleType({JAVA}ByteType))",
        "map<varint, tuple<tinyint>>",
    ),
]


@pytest.mark.parametrize(("java", "cql"), CLASSES)
def test_java_names_are_understood(java: str, cql: str) -> None:
    assert spell(parse_class("c", java)) == cql


@pytest.mark.parametrize(
    "java", ["", "VectorType(FloatType)", "ListType(Int32Type", "Int32Type)", "a b"]
)
def test_what_is_no_java_name_raises(java: str) -> None:
    with pytest.raises((ProtocolError, UnsupportedType), match=r"^c: "):
        parse_class("c", java)


def test_a_type_without_a_place_in_arrow_is_named() -> None:
    with pytest.raises(UnsupportedType, match=r"DynamicCompositeType.*without this one"):
        parse_class("c", f"{JAVA}DynamicCompositeType")
