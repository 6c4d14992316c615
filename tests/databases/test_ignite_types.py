"""Every type of Ignite on real servers: written by pyignite, by SQL and by us, read by us."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import struct
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyignite import GenericObjectMeta
from pyignite import datatypes as ignite_types

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.binary.encode import write_as, write_value
from insitu.databases.ignite.binary.hashes import cache_id
from insitu.databases.ignite.binary.metadata import (
    PUT_BINARY_TYPE,
    BinaryType,
    BinaryTypes,
    enum_type,
    put_request,
)
from insitu.databases.ignite.binary.values import (
    Array,
    BinaryObject,
    Char,
    Collection,
    Enum,
    Map,
    ObjectArray,
    Row,
    Value,
)
from insitu.databases.ignite.cluster.catalog import find_table
from insitu.databases.ignite.cluster.tables import read_binary_type, read_layout, sample_rows
from insitu.databases.ignite.columns.arrow import rows_to_batch
from insitu.databases.ignite.columns.layout import RowLayout
from insitu.databases.ignite.protocol.connection import Connection
from insitu.errors import ConfigurationError, UnsupportedType
from testbed.ignite import Cluster
from tests.ignite_values import binary_object, registered, same

pytestmark = pytest.mark.ignite

PUT = 1001

NOW = datetime.datetime(2024, 2, 29, 12, 34, 56, 789000)  # noqa: DTZ001 - as pyignite has them
MILLIS = int(NOW.timestamp() * 1000)
DATE = np.datetime64(MILLIS, "ms")
TIMESTAMP = np.datetime64(MILLIS * 1_000_000 + 123, "ns")
TIME = np.timedelta64(3_723_004, "ms")
UUID = uuid.UUID("01234567-89ab-cdef-fedc-ba9876543210")
TEXT = "a\u20ac😀é"
PRICE = decimal.Decimal("-12345.678")
COLOR = enum_type("Color", {0: "RED", 1: "GREEN"})


@dataclass(frozen=True)
class Server:
    """One connection, and what is done with it here."""

    connection: Connection
    types: BinaryTypes
    others: tuple[Connection, ...]

    def rows(self, name: str) -> list[Row]:
        found = find_table(self.connection, name)
        return sample_rows(self.connection, found, self.types, lambda: self.others)

    def layout(self, name: str) -> RowLayout:
        found = find_table(self.connection, name)
        return read_layout(self.connection, found, self.types, lambda: self.others)

    def batch(self, name: str) -> pa.RecordBatch:
        return rows_to_batch(self.rows(name), self.layout(name))

    def register(self, *kinds: BinaryType) -> None:
        for kind in kinds:
            self.connection.request(PUT_BINARY_TYPE, put_request(kind))

    def put(self, cache: str, key: Value | int, value: Value) -> None:
        self.register(*registered(key, value))
        body = bytearray(struct.pack("<ib", cache_id(cache), 0))
        write_value(body, key, "key")
        write_value(body, value)
        self.connection.request(PUT, body)


@pytest.fixture
def server(ignite: Cluster) -> Iterator[Server]:
    with contextlib.ExitStack() as stack:
        first, *others = (
            stack.enter_context(Connection.open(*endpoint)) for endpoint in ignite.endpoints
        )
        yield Server(first, BinaryTypes(partial(read_binary_type, first)), tuple(others))


@pytest.fixture
def cache(ignite: Cluster, request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty cache of pyignite, gone after the test."""
    with ignite.client() as client:
        created = client.create_cache(f"types-{uuid.uuid4()}")
        yield created
        created.destroy()


def of(name: str) -> Any:
    return getattr(ignite_types, name)


#: What pyignite writes, by the type it is told, and what has to come out.
FROM_PYIGNITE: dict[str, tuple[Any, Value]] = {
    "ByteObject": (-5, np.int8(-5)),
    "ShortObject": (-500, np.int16(-500)),
    "IntObject": (-(1 << 31), np.int32(-(1 << 31))),
    "LongObject": ((1 << 63) - 1, np.int64((1 << 63) - 1)),
    "FloatObject": (0.5, np.float32(0.5)),
    "DoubleObject": (0.1, np.float64(0.1)),
    "CharObject": ("€", Char(0x20AC)),
    "BoolObject": (True, True),
    "String": (TEXT, TEXT),
    "UUIDObject": (UUID, UUID),
    "DateObject": (NOW, DATE),
    "TimestampObject": ((NOW, 123), TIMESTAMP),
    "TimeObject": (datetime.timedelta(milliseconds=3_723_004), TIME),
    "DecimalObject": (PRICE, PRICE),
    "EnumObject": ((COLOR.id, 1), Enum(COLOR.id, 1, "GREEN")),
    "BinaryEnumObject": ((COLOR.id, 0), Enum(COLOR.id, 0, "RED")),
    "ByteArrayObject": (b"\0\x7f\xff", b"\0\x7f\xff"),
    "ShortArrayObject": ([1, -2], np.array([1, -2], "<i2")),
    "IntArrayObject": ([1, -2], np.array([1, -2], "<i4")),
    "LongArrayObject": ([1, -2], np.array([1, -2], "<i8")),
    "FloatArrayObject": ([0.5, -2], np.array([0.5, -2], "<f4")),
    "DoubleArrayObject": ([0.1, -2], np.array([0.1, -2], "<f8")),
    "CharArrayObject": (["a", "€"], Array(Code.CHAR_ARRAY, (Char(97), Char(0x20AC)))),
    "BoolArrayObject": ([True, False], np.array([True, False])),
    "StringArrayObject": ([TEXT, None], Array(Code.STRING_ARRAY, (TEXT, None))),
    "UUIDArrayObject": ([UUID, None], Array(Code.UUID_ARRAY, (UUID, None))),
    "DateArrayObject": ([NOW, None], Array(Code.DATE_ARRAY, (DATE, None))),
    "TimestampArrayObject": (
        [(NOW, 123), None],
        Array(Code.TIMESTAMP_ARRAY, (TIMESTAMP, None)),
    ),
    "TimeArrayObject": (
        [datetime.timedelta(milliseconds=3_723_004), None],
        Array(Code.TIME_ARRAY, (TIME, None)),
    ),
    "DecimalArrayObject": ([PRICE, None], Array(Code.DECIMAL_ARRAY, (PRICE, None))),
    "CollectionObject": ((2, ["a", None, "b"]), Collection(("a", None, "b"), 2)),
    "MapObject": ((2, {"a": "x", "b": None}), Map((("a", "x"), ("b", None)), 2)),
    "ObjectArrayObject": ((-1, ["a", None]), ObjectArray(("a", None))),
    "EnumArrayObject": (
        (COLOR.id, [(COLOR.id, 1), None]),
        ObjectArray((Enum(COLOR.id, 1, "GREEN"), None), COLOR.id, Code.ENUM_ARRAY),
    ),
}


#: A server turns a bare enum[] into an object[] of enums.
BARE: dict[str, Value] = {
    **{name: value for name, (_, value) in FROM_PYIGNITE.items()},
    "EnumArrayObject": ObjectArray((Enum(COLOR.id, 1, "GREEN"), None)),
}


@pytest.mark.parametrize("name", FROM_PYIGNITE)
def test_what_pyignite_writes_as_a_value_is_read(server: Server, cache: Any, name: str) -> None:
    value, expected = FROM_PYIGNITE[name][0], BARE[name]
    server.register(COLOR)
    cache.put(1, value, value_hint=of(name))
    [(key, read)] = server.rows(cache.name)
    assert same(key, np.int64(1))
    assert same(read, expected)


def test_what_pyignite_writes_as_fields_is_read(server: Server, cache: Any) -> None:
    server.register(COLOR)
    everything = new_class("Everything", {name: of(name) for name in FROM_PYIGNITE})
    cache.put(1, everything(**{name: value for name, (value, _) in FROM_PYIGNITE.items()}))
    cache.put(2, everything(**dict.fromkeys(FROM_PYIGNITE)))
    rows = dict(server.rows(cache.name))
    full, empty = (rows[np.int64(key)] for key in (1, 2))
    assert isinstance(full, BinaryObject)
    assert isinstance(empty, BinaryObject)
    assert list(full.fields) == list(FROM_PYIGNITE)
    for name, (_, expected) in FROM_PYIGNITE.items():
        assert same(full.fields[name], expected), name
    assert set(empty.fields.values()) == {None}


def test_fields_that_pyignite_writes_are_columns(server: Server, cache: Any) -> None:
    server.register(COLOR)
    everything = new_class("Everything", {name: of(name) for name in FROM_PYIGNITE})
    cache.put(1, everything(**{name: value for name, (value, _) in FROM_PYIGNITE.items()}))
    batch = server.batch(cache.name)
    batch.validate(full=True)
    assert batch.schema.names == ["key", *FROM_PYIGNITE]
    expected = {
        "ByteObject": -5,
        "CharObject": "€",
        "String": TEXT,
        "UUIDObject": UUID,
        "DateObject": DATE.item(),
        "DecimalObject": PRICE,
        "EnumObject": "GREEN",
        "FloatArrayObject": [0.5, -2.0],
        "StringArrayObject": [TEXT, None],
        "UUIDArrayObject": [UUID, None],
        "CollectionObject": ["a", None, "b"],
        "MapObject": [("a", "x"), ("b", None)],
        "EnumArrayObject": ["GREEN", None],
    }
    assert {name: batch[name][0].as_py() for name in expected} == expected


def new_class(name: str, fields: dict[str, Any]) -> Any:
    return GenericObjectMeta(name, (), {}, schema=OrderedDict(fields))


def test_nested_objects_arrays_and_maps_of_them_are_structs(server: Server, cache: Any) -> None:
    place = new_class("Place", {"street": of("StringArrayObject"), "zip": of("IntObject")})
    person = new_class(
        "Person",
        {
            "home": of("BinaryObject"),
            "all": of("ObjectArrayObject"),
            "list": of("CollectionObject"),
            "by_name": of("MapObject"),
        },
    )
    home, other = place(street=["a", "b"], zip=1), place(street=None, zip=2)
    cache.put(
        1,
        person(home=home, all=(-1, [home, None]), list=(1, [other]), by_name=(1, {"x": home})),
    )
    batch = server.batch(cache.name)
    first, second = {"street": ["a", "b"], "zip": 1}, {"street": None, "zip": 2}
    assert batch.drop_columns(["key"]).to_pylist() == [
        {"home": first, "all": [first, None], "list": [second], "by_name": [("x", first)]}
    ]


def test_schemas_of_one_type_in_one_cache_merge(server: Server, cache: Any) -> None:
    fields = {"a": of("IntObject"), "b": of("String"), "c": of("DoubleObject")}
    cache.put(1, new_class("Merged", {"a": fields["a"], "b": fields["b"]})(a=1, b="x"))
    cache.put(2, new_class("Merged", {"c": fields["c"], "a": fields["a"]})(c=0.5, a=2))
    rows = sorted(server.batch(cache.name).to_pylist(), key=lambda row: row["key"])
    assert rows == [
        {"key": 1, "a": 1, "b": "x", "c": None},
        {"key": 2, "a": 2, "b": None, "c": 0.5},
    ]


def test_a_list_of_mixed_types_is_refused_with_its_path(server: Server, cache: Any) -> None:
    mixed = new_class("Mixed", {"tags": of("CollectionObject")})
    cache.put(1, mixed(tags=(1, ["a", 1])))
    with pytest.raises(UnsupportedType, match=r"^val\.tags\[1\]: string and long in one place"):
        server.layout(cache.name)


def test_values_of_two_types_are_refused(server: Server, cache: Any) -> None:
    cache.put(1, "x", value_hint=of("String"))
    cache.put(2, 1, value_hint=of("IntObject"))
    with pytest.raises(UnsupportedType, match=r"^val: \w+ and \w+ in one place"):
        server.layout(cache.name)


def test_an_empty_cache_without_metadata_has_a_key_and_a_value(server: Server, cache: Any) -> None:
    batch = server.batch(cache.name)
    assert batch.schema == pa.schema({"key": pa.null(), "value": pa.null()})
    assert batch.num_rows == 0


@pytest.mark.parametrize("name", FROM_PYIGNITE)
def test_what_we_write_as_a_value_is_read(server: Server, cache: Any, name: str) -> None:
    server.register(COLOR)
    server.put(cache.name, 1, FROM_PYIGNITE[name][1])
    [(_, read)] = server.rows(cache.name)
    assert same(read, BARE[name])


def test_a_string_keeps_nul_and_emoji(ignite: Cluster, server: Server, cache: Any) -> None:
    # pyignite spoils a string after a NUL in it.
    server.put(cache.name, 1, binary_object("Text", it="a\0b😀"))
    assert server.batch(cache.name)["it"].to_pylist() == ["a\0b😀"]
    ignite.sql('CREATE TABLE TYPES_TEXT (ID INT PRIMARY KEY, IT VARCHAR) WITH "template=p7"')
    ignite.sql("INSERT INTO TYPES_TEXT VALUES (1, 'a' || CHAR(0) || 'b😀')")
    assert server.batch("TYPES_TEXT")["IT"].to_pylist() == ["a\0b😀"]


def test_objects_we_write_are_read_by_us_and_by_pyignite(server: Server, cache: Any) -> None:
    server.register(COLOR)
    fields = {name: value for name, (_, value) in FROM_PYIGNITE.items()}
    nested = binary_object("Inner", x=np.int32(1), text=TEXT)
    value = binary_object("Ours", b"", **fields, nested=nested)
    server.put(cache.name, 1, value)
    assert same(dict(server.rows(cache.name))[np.int64(1)], value)
    seen = cache.get(1)
    for name, (written, _) in FROM_PYIGNITE.items():
        assert getattr(seen, name) == written, name
    assert (seen.nested.x, seen.nested.text) == (1, TEXT)


def test_a_complex_key_we_write_is_the_key_that_sql_wrote(ignite: Cluster, server: Server) -> None:
    ignite.sql(
        "CREATE TABLE TYPES_KEY (A INT, B VARCHAR, V VARCHAR, PRIMARY KEY (A, B)) "
        'WITH "template=p7,CACHE_NAME=types_key,KEY_TYPE=TypesKey,VALUE_TYPE=TypesValue"'
    )
    ignite.sql("INSERT INTO TYPES_KEY VALUES (1, 'x', 'from SQL')")
    key = binary_object("TypesKey", A=np.int32(1), B="x")
    server.put("types_key", key, binary_object("TypesValue", V="from us"))
    assert server.batch("TYPES_KEY").to_pylist() == [{"A": 1, "B": "x", "V": "from us"}]
    assert ignite.sql("SELECT A, B, V FROM TYPES_KEY") == [[1, "x", "from us"]]


def test_a_date_we_write_is_one_that_sql_can_read(ignite: Cluster, server: Server) -> None:
    ignite.sql(
        "CREATE TABLE TYPES_DATE (ID BIGINT PRIMARY KEY, D DATE) "
        'WITH "template=p7,CACHE_NAME=types_date,WRAP_VALUE=false"'
    )
    body = bytearray(struct.pack("<ib", cache_id("types_date"), 0))
    write_value(body, 1)
    write_as(body, Code.JAVA_SERIALIZED, np.datetime64("2024-02-29", "ms"))
    server.connection.request(PUT, body)
    condition = "WHERE D = DATE '2024-02-29' AND YEAR(D) = 2024"
    assert ignite.sql(f"SELECT ID FROM TYPES_DATE {condition}") == [[1]]
    assert server.batch("TYPES_DATE").to_pylist() == [
        {"ID": 1, "D": datetime.datetime(2024, 2, 29)}  # noqa: DTZ001 - columns have no zone
    ]


SQL_COLUMNS = {
    "ID": "INT PRIMARY KEY",
    "B": "BOOLEAN",
    "T": "TINYINT",
    "S": "SMALLINT",
    "L": "BIGINT",
    "R": "REAL",
    "D": "DOUBLE",
    "TXT": "VARCHAR",
    "BIN": "BINARY",
    "U": "UUID",
    "P": "DECIMAL(10, 3)",
    "Q": "DECIMAL",
    "DT": "DATE",
    "TM": "TIME",
    "TS": "TIMESTAMP",
}
SQL_SCHEMA = pa.schema(
    {
        "ID": pa.int32(),
        "B": pa.bool_(),
        "T": pa.int8(),
        "S": pa.int16(),
        "L": pa.int64(),
        "R": pa.float32(),
        "D": pa.float64(),
        "TXT": pa.string(),
        "BIN": pa.binary(),
        "U": pa.uuid(),
        "P": pa.decimal128(10, 3),
        "Q": pa.decimal128(38, 9),
        "DT": pa.timestamp("ms"),
        "TM": pa.time32("ms"),
        "TS": pa.timestamp("ns"),
    }
)


@pytest.fixture
def sql_table(ignite: Cluster) -> Iterator[str]:
    """An empty table of every type of SQL."""
    columns = ", ".join(f"{name} {kind}" for name, kind in SQL_COLUMNS.items())
    ignite.sql(f'CREATE TABLE TYPES_SQL ({columns}) WITH "template=p7"')
    yield "TYPES_SQL"
    ignite.sql("DROP TABLE TYPES_SQL")


def test_an_empty_sql_table_has_its_declared_columns(server: Server, sql_table: str) -> None:
    batch = server.batch(sql_table)
    assert batch.schema == SQL_SCHEMA
    assert batch.num_rows == 0


def test_what_sql_writes_is_read(ignite: Cluster, server: Server, sql_table: str) -> None:
    ignite.sql(
        "INSERT INTO TYPES_SQL VALUES (1, TRUE, -1, -2, -3, 0.5, 0.1, 'é😀', X'00FF', "
        f"'{UUID}', -1.5, 12345.678901, DATE '2024-02-29', TIME '01:02:03', "
        "TIMESTAMP '2024-02-29 12:34:56.789123')"
    )
    ignite.sql("INSERT INTO TYPES_SQL (ID) VALUES (2)")
    first, second = sorted(server.batch(sql_table).to_pylist(), key=lambda row: row["ID"])
    assert server.layout(sql_table).schema == SQL_SCHEMA
    assert first == {
        "ID": 1,
        "B": True,
        "T": -1,
        "S": -2,
        "L": -3,
        "R": 0.5,
        "D": 0.1,
        "TXT": "é😀",
        "BIN": b"\0\xff",
        "U": UUID,
        "P": decimal.Decimal("-1.5"),
        "Q": decimal.Decimal("12345.678901"),
        "DT": datetime.datetime(2024, 2, 29),  # noqa: DTZ001 - columns have no zone
        "TM": datetime.time(1, 2, 3),
        "TS": datetime.datetime(2024, 2, 29, 12, 34, 56, 789123),  # noqa: DTZ001
    }
    assert second == {**dict.fromkeys(SQL_COLUMNS), "ID": 2}


def test_an_emptied_sql_table_keeps_its_columns(
    ignite: Cluster, server: Server, sql_table: str
) -> None:
    ignite.sql("INSERT INTO TYPES_SQL (ID, Q, DT) VALUES (1, 2, CURRENT_DATE())")
    ignite.sql("DELETE FROM TYPES_SQL")
    assert server.batch(sql_table).schema == SQL_SCHEMA


def test_a_column_added_later_is_null_in_older_rows(ignite: Cluster, server: Server) -> None:
    ignite.sql('CREATE TABLE TYPES_ADD (ID INT PRIMARY KEY, A INT) WITH "template=p7"')
    ignite.sql("INSERT INTO TYPES_ADD VALUES (1, 1)")
    ignite.sql("ALTER TABLE TYPES_ADD ADD COLUMN B VARCHAR")
    assert server.batch("types_add").to_pylist() == [{"ID": 1, "A": 1, "B": None}]
    ignite.sql("INSERT INTO TYPES_ADD VALUES (2, 2, 'x')")
    rows = sorted(server.batch("types_add").to_pylist(), key=lambda row: row["ID"])
    assert rows == [{"ID": 1, "A": 1, "B": None}, {"ID": 2, "A": 2, "B": "x"}]


def test_a_table_of_bare_values_has_their_sql_name(ignite: Cluster, server: Server) -> None:
    ignite.sql(
        'CREATE TABLE TYPES_BARE (A INT PRIMARY KEY, V VARCHAR) WITH "template=p7,WRAP_VALUE=false"'
    )
    ignite.sql("INSERT INTO TYPES_BARE VALUES (1, 'x')")
    assert server.batch("TYPES_BARE").to_pylist() == [{"A": 1, "V": "x"}]


def test_columns_are_asked_for_in_any_case_and_named_as_asked(
    server: Server, sql_table: str
) -> None:
    layout = server.layout(sql_table)
    assert layout.select(["txt", "Id"]).schema.names == ["txt", "Id"]
    with pytest.raises(ConfigurationError, match="did you mean 'TXT'"):
        layout.select(["TXTS"])
