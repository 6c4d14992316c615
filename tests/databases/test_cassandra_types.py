"""Every CQL type on real pages: the quick decoder, the general one and the driver agree."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import ipaddress
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.util import Date, Duration, OrderedMapSerializedKey, SortedSet, Time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insitu.databases.cassandra.columns.general import general_batch
from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.columns.quick import quick_batch
from insitu.databases.cassandra.columns.types import arrow_schema, spell
from insitu.databases.cassandra.protocol.connection import Connection
from insitu.databases.cassandra.protocol.messages import long_value
from insitu.databases.cassandra.protocol.results import parse_rows
from insitu.databases.cassandra.ranges import RING
from insitu.databases.cassandra.reading.statement import Select
from testbed.cassandra import Cluster

pytestmark = pytest.mark.cassandra

KEYSPACE = "all_types"
#: The driver's and Arrow's times are of UTC, and do not say so.
EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001
UUID1 = uuid.UUID("11111111-1111-1111-8111-111111111111")


@dataclass(frozen=True)
class Case:
    """One column: its CQL type, values the driver takes, and what Arrow gives for them."""

    cql: str
    values: Sequence[Any]
    arrow: Sequence[Any] | None = None


CASES = {
    "c_ascii": Case("ascii", ["abc", ""]),
    "c_bigint": Case("bigint", [-(1 << 63), 1]),
    "c_blob": Case("blob", [b"\x00\xff", b""]),
    "c_boolean": Case("boolean", [True, False]),
    "c_date": Case(
        "date",
        [datetime.date(1969, 12, 31), datetime.date(9999, 1, 1)],
    ),
    "c_decimal": Case("decimal", [decimal.Decimal("-1.250"), decimal.Decimal("1E+3")]),
    "c_double": Case("double", [1.5, -0.0]),
    "c_duration": Case(
        "duration",
        [Duration(1, 2, 3), Duration(-4, -5, -6_000_000_001)],
        [pa.MonthDayNano([1, 2, 3]), pa.MonthDayNano([-4, -5, -6_000_000_001])],
    ),
    "c_float": Case("float", [0.25, -1.0]),
    "c_inet": Case("inet", ["10.0.0.1", "fe80::1"]),
    "c_int": Case("int", [-5, 7]),
    "c_smallint": Case("smallint", [-300, 300]),
    "c_text": Case("text", ["häß", ""]),
    "c_time": Case("time", [Time(0), Time(86_399_999_999_999)], [0, 86_399_999_999_999]),
    "c_timestamp": Case(
        "timestamp", [EPOCH - datetime.timedelta(days=1), EPOCH + datetime.timedelta(days=30_000)]
    ),
    "c_timeuuid": Case("timeuuid", [UUID1, UUID1]),
    "c_tinyint": Case("tinyint", [-128, 127]),
    "c_uuid": Case("uuid", [uuid.UUID(int=5), uuid.UUID(int=(1 << 128) - 1)]),
    "c_varint": Case(
        "varint",
        [-(10**30), 0],
        [decimal.Decimal(-(10**30)), decimal.Decimal(0)],
    ),
    "c_list": Case("list<int>", [[1, 2], [3]]),
    "c_texts": Case("list<text>", [["a", ""], ["b"]]),
    "c_set": Case("set<text>", [{"b", "a"}, {"c"}], [["a", "b"], ["c"]]),
    "c_map": Case(
        "map<text, int>", [{"a": 1}, {"b": 2, "c": 3}], [[("a", 1)], [("b", 2), ("c", 3)]]
    ),
    "c_frozen": Case("frozen<list<frozen<set<int>>>>", [[{1}, {2, 3}], []], [[[1], [2, 3]], []]),
    "c_tuple": Case(
        "tuple<int, text, float>",
        [(1, None, 0.5), (2, "x", None)],
        [{"0": 1, "1": None, "2": 0.5}, {"0": 2, "1": "x", "2": None}],
    ),
    "c_udt": Case(
        "frozen<point>",
        [(1, "x", [1.0]), (None, None, None)],
        [{"x": 1, "name": "x", "more": [1.0]}, {"x": None, "name": None, "more": None}],
    ),
    "c_vector": Case("vector<float, 3>", [[1.0, 2.0, 3.0], [-1.0, 0.0, 0.5]]),
    "c_nested": Case("vector<vector<double, 2>, 2>", [[[1.0, 2.0], [3.0, 4.0]]] * 2),
    "c_words": Case("vector<text, 2>", [["a", ""], ["bc", "d"]]),
    "c_shorts": Case("vector<smallint, 2>", [[1, -2], [3, 4]]),
    "c_udts": Case(
        "map<text, frozen<point>>",
        [{"a": (1, "y", None)}, {}],
        [[("a", {"x": 1, "name": "y", "more": None})], None],
    ),
}


@pytest.fixture(scope="module")
def session(cassandra: Cluster) -> Iterator[Session]:
    cassandra.keyspace(KEYSPACE)
    with cassandra.session(cassandra.nodes[0]) as session:
        session.execute(
            f"CREATE TYPE {KEYSPACE}.point (x int, name text, more frozen<list<float>>)"
        )
        columns = ", ".join(f"{name} {case.cql}" for name, case in CASES.items())
        session.execute(
            f"CREATE TABLE {KEYSPACE}.t (id int PRIMARY KEY, {columns})".replace(
                "<point>", f"<{KEYSPACE}.point>"
            )
        )
        yield session


@pytest.fixture(scope="module")
def connection(cassandra: Cluster) -> Iterator[Connection]:
    node = cassandra.nodes[0]
    with contextlib.closing(Connection.open(node.host, node.port)) as connection:
        yield connection


def read(connection: Connection, table: str, columns: Sequence[str], key: str = "id") -> pa.Table:
    """All rows of a small table, by both decoders, which have to agree."""
    select = Select(KEYSPACE, table, tuple(columns), (key,))
    prepared = connection.prepare(select.cql)
    pages: list[Page] = []
    state: bytes | None = None
    while not pages or state is not None:
        ring = [long_value(RING.start), long_value(RING.end)]
        connection.execute(prepared, ring, page_rows=7, paging_state=state)
        body = connection.result(connection.receive())
        assert body is not None
        pages.append(parse_rows(body).page)
        state = pages[-1].paging_state
    batches = [quick_batch(page, prepared.columns) for page in pages]
    for page, batch in zip(pages, batches, strict=True):
        batch.validate(full=True)
        assert batch.equals(general_batch(page, prepared.columns))
    return pa.Table.from_batches(batches, arrow_schema(prepared.columns))


@pytest.fixture(scope="module")
def rows(session: Session, connection: Connection) -> dict[int, dict[str, Any]]:
    """Row 0 and 1 have the values of `CASES`, row 2 has none."""
    for number in range(2):
        names = ", ".join(CASES)
        marks = ", ".join("?" * len(CASES))
        insert = session.prepare(f"INSERT INTO {KEYSPACE}.t (id, {names}) VALUES (?, {marks})")
        session.execute(insert, [number, *(case.values[number] for case in CASES.values())])
    session.execute(f"INSERT INTO {KEYSPACE}.t (id) VALUES (2)")
    table = read(connection, "t", ["id", *CASES])
    times = table.schema.get_field_index("c_time")
    table = table.set_column(times, "c_time", table["c_time"].cast(pa.int64()))
    return {row["id"]: row for row in table.to_pylist()}


@pytest.mark.parametrize("name", CASES)
def test_a_type_comes_out_as_documented(rows: dict[int, dict[str, Any]], name: str) -> None:
    case = CASES[name]
    expected = case.arrow or case.values
    assert [rows[number][name] for number in range(3)] == [*expected, None]


def test_the_types_are_what_the_server_calls_them(session: Session, connection: Connection) -> None:
    prepared = connection.prepare(Select(KEYSPACE, "t", tuple(CASES), ("id",)).cql)
    found = {column.name: spell(column.type) for column in prepared.columns}
    for name, case in CASES.items():
        plain = case.cql.replace("set<", "list<")
        while "frozen<" in plain:
            head, _, tail = plain.partition("frozen<")
            plain = head + _without_its_end(tail)
        assert found[name] == plain


def _without_its_end(text: str) -> str:
    depth = 1
    for at, letter in enumerate(text):
        depth += (letter == "<") - (letter == ">")
        if not depth:
            return text[:at] + text[at + 1 :]
    raise AssertionError(text)


def test_counters_are_numbers(session: Session, connection: Connection) -> None:
    session.execute(f"CREATE TABLE {KEYSPACE}.hits (id int PRIMARY KEY, n counter)")
    session.execute(f"UPDATE {KEYSPACE}.hits SET n = n + 5 WHERE id = 1")
    assert read(connection, "hits", ["n"]).column("n").to_pylist() == [5]


def test_static_columns_are_on_every_row_of_their_partition(
    session: Session, connection: Connection
) -> None:
    session.execute(
        f"CREATE TABLE {KEYSPACE}.st (id int, c int, s text static, PRIMARY KEY (id, c))"
    )
    session.execute(f"INSERT INTO {KEYSPACE}.st (id, s) VALUES (1, 'one')")
    for c in range(3):
        session.execute(f"INSERT INTO {KEYSPACE}.st (id, c, s) VALUES (2, {c}, 'two')")
    found = read(connection, "st", ["id", "c", "s"]).to_pylist()
    assert sorted(found, key=str) == sorted(
        [{"id": 1, "c": None, "s": "one"}, *({"id": 2, "c": c, "s": "two"} for c in range(3))],
        key=str,
    )


def test_empty_values_of_numbers_are_null(session: Session, connection: Connection) -> None:
    session.execute(f"CREATE TABLE {KEYSPACE}.em (id int PRIMARY KEY, n int, x double, t text)")
    session.execute(
        f"INSERT INTO {KEYSPACE}.em (id, n, x, t) VALUES "
        "(1, blob_as_int(0x), blob_as_double(0x), '')"
    )
    found = read(connection, "em", ["id", "n", "x", "t"]).to_pylist()
    assert found == [{"id": 1, "n": None, "x": None, "t": ""}]


def test_fields_added_to_a_type_later_are_null(session: Session, connection: Connection) -> None:
    session.execute(f"CREATE TYPE {KEYSPACE}.grows (a int)")
    session.execute(f"CREATE TABLE {KEYSPACE}.g (id int PRIMARY KEY, v frozen<{KEYSPACE}.grows>)")
    session.execute(f"INSERT INTO {KEYSPACE}.g (id, v) VALUES (1, {{a: 1}})")
    session.execute(f"ALTER TYPE {KEYSPACE}.grows ADD b text")
    session.execute(f"INSERT INTO {KEYSPACE}.g (id, v) VALUES (2, {{a: 2, b: 'x'}})")
    found = read(connection, "g", ["v"]).column("v").to_pylist()
    assert sorted(found, key=str) == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


RANDOM = {
    "v": (
        "vector<float, 4>",
        st.lists(st.floats(width=32, allow_nan=False), min_size=4, max_size=4),
    ),
    "n": ("bigint", st.integers(-(1 << 63), (1 << 63) - 1)),
    "t": ("text", st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)),
    "b": ("blob", st.binary(max_size=40)),
    "l": ("list<int>", st.lists(st.integers(-5, 5), min_size=1, max_size=3)),
    "m": (
        "map<int, text>",
        st.dictionaries(st.integers(0, 9), st.text("ab", max_size=2), min_size=1),
    ),
    "u": ("uuid", st.uuids()),
    "i": ("inet", st.ip_addresses().map(str)),
    "d": ("date", st.dates()),
    "f": ("frozen<tuple<int, text>>", st.tuples(st.integers(0, 9), st.none() | st.text("ab"))),
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | values for name, (_, values) in RANDOM.items()}),
    min_size=1,
    max_size=20,
)


@pytest.fixture(scope="module")
def random_table(session: Session) -> Session:
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in RANDOM.items())
    session.execute(f"CREATE TABLE {KEYSPACE}.r (id int PRIMARY KEY, {columns})")
    return session


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_real_pages_decode_as_the_driver_decodes_them(
    random_table: Session, connection: Connection, rows: list[dict[str, Any]]
) -> None:
    session = random_table
    session.execute(f"TRUNCATE {KEYSPACE}.r")
    marks = ", ".join("?" * (len(RANDOM) + 1))
    insert = session.prepare(f"INSERT INTO {KEYSPACE}.r (id, {', '.join(RANDOM)}) VALUES ({marks})")
    values = [[number, *(row[name] for name in RANDOM)] for number, row in enumerate(rows)]
    execute_concurrent_with_args(session, insert, values)
    ours = read(connection, "r", ["id", *RANDOM]).to_pylist()
    theirs = session.execute(f"SELECT id, {', '.join(RANDOM)} FROM {KEYSPACE}.r")
    assert [list(row.values()) for row in ours] == [[_arrow(v) for v in row] for row in theirs]


def _arrow(value: Any) -> Any:
    """A value of the driver as Arrow has it."""
    match value:
        case Date():
            return value.date()
        case OrderedMapSerializedKey():
            return list(value.items())
        case SortedSet():
            return list(value)
        case tuple():
            return {str(number): each for number, each in enumerate(value)}
        case str() if _is_address(value):
            return str(ipaddress.ip_address(value))
    return value


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
