"""What is written is what is read, by our reader and by independent witnesses."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from insitu.databases import connect
from insitu.errors import ConfigurationError, UnsupportedType
from testbed.ignite import Cluster

pytestmark = pytest.mark.ignite

OPTIONS = {"template": "p7", "backups": "1"}
JUST_BEFORE_1970 = datetime.datetime(1969, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001


def write(
    cluster: Cluster, table: str, batch: pa.RecordBatch, key: Sequence[str] = ("id",)
) -> None:
    with (
        contextlib.closing(connect(cluster.source(table))) as database,
        contextlib.closing(database.writer(batch.schema, key=key, options=OPTIONS)) as writer,
    ):
        writer.write(batch)


def read(cluster: Cluster, table: str) -> pa.Table:
    """All rows, each partition from its primary."""
    batches = []
    with contextlib.closing(connect(cluster.source(table))) as database:
        topology = database.topology()
        schema = database.schema()
        for node in topology.nodes:
            with contextlib.closing(database.reader(node)) as reader:
                for shard in topology.shards:
                    if shard.owners[0] == node.id:
                        batches += list(reader.open(shard.id))
    return pa.Table.from_batches(batches, schema)


def rows(*values: object, kind: pa.DataType | None = None) -> pa.RecordBatch:
    """A batch of an `id` from 0 and a column `v`."""
    return pa.record_batch({"id": list(range(len(values))), "v": pa.array(values, kind)})


def stored(cluster: Cluster, table: str, batch: pa.RecordBatch) -> pa.ChunkedArray:
    write(cluster, table, batch)
    return read(cluster, table).sort_by("id")["v"]


LISTS = [
    ("float32", [[1.5, -2.0], [], None, [3.25]], pa.list_(pa.float32())),
    ("float64", [[1e300], [0.1, 0.2]], pa.large_list(pa.float64())),
    ("int64", [[1 << 60], [-1, 0]], pa.list_(pa.int64())),
    ("int16", [[-32768, 32767], None], pa.list_(pa.int16(), 2)),
    ("bool", [[True, False, True], []], pa.list_(pa.bool_())),
    ("string", [["a", "é\0", "🙂"], []], pa.list_(pa.string())),
]


@pytest.mark.parametrize(("name", "values", "kind"), LISTS, ids=[case[0] for case in LISTS])
def test_lists_come_back_as_lists(
    ignite: Cluster, name: str, values: list[object], kind: pa.DataType
) -> None:
    column = stored(ignite, f"W_LIST_{name}", rows(*values, kind=kind))
    assert column.type == pa.list_(kind.value_type)
    assert column.to_pylist() == values


SCALARS = [
    ("bool", [True, False, None], pa.bool_()),
    ("int8", [-128, 127, None], pa.int8()),
    ("int16", [-32768, 32767], pa.int16()),
    ("int32", [-(1 << 31), (1 << 31) - 1], pa.int32()),
    ("int64", [-(1 << 63), (1 << 63) - 1, None], pa.int64()),
    ("float32", [1.5, -0.0, float("inf"), None], pa.float32()),
    ("float64", [1e-300, None], pa.float64()),
    ("string", ["", "a\0b", "🙂", None], pa.string()),
    ("binary", [b"", b"\0\xff" * 1000, None], pa.binary()),
    ("timestamp", [JUST_BEFORE_1970, None], pa.timestamp("ns")),
    ("uuid", [uuid.UUID(int=1), uuid.UUID(int=1 << 127), None], pa.uuid()),
    ("decimal", [decimal.Decimal("-12345.67"), decimal.Decimal(0), None], pa.decimal128(10, 2)),
    ("time", [datetime.time(23, 59, 59, 999000), None], pa.time32("ms")),
]


@pytest.mark.parametrize(("name", "values", "kind"), SCALARS, ids=[case[0] for case in SCALARS])
def test_values_come_back(
    ignite: Cluster, name: str, values: list[object], kind: pa.DataType
) -> None:
    column = stored(ignite, f"W_SCALAR_{name}", rows(*values, kind=kind))
    assert column.cast(kind).to_pylist() == pa.array(values, kind).to_pylist()


def test_a_date_comes_back(ignite: Cluster) -> None:
    days = [datetime.date(1969, 7, 20), datetime.date(2026, 2, 28), None]
    column = stored(ignite, "W_DATE", rows(*days, kind=pa.date32()))
    assert column.cast(pa.date32()).to_pylist() == days


def test_sql_sees_what_was_written(ignite: Cluster) -> None:
    write(ignite, "W_SQL", rows("a", None, "ü"))
    assert ignite.sql('SELECT "id", "v" FROM W_SQL ORDER BY "id"') == [
        [0, "a"],
        [1, None],
        [2, "ü"],
    ]
    ignite.sql('INSERT INTO W_SQL ("id", "v") VALUES (3, ?)', "by sql")
    assert read(ignite, "w_sql").num_rows == 4


def test_the_same_key_replaces_the_row(ignite: Cluster) -> None:
    write(ignite, "W_AGAIN", rows("old", "old"))
    write(ignite, "W_AGAIN", rows("new", "old"))
    assert read(ignite, "W_AGAIN").sort_by("id")["v"].to_pylist() == ["new", "old"]


def test_a_key_of_several_columns_is_one_key_for_sql_too(ignite: Cluster) -> None:
    batch = pa.record_batch({"a": [1, 1, 2], "b": ["x", "y", "x"], "v": [0.5, 1.5, 2.5]})
    for _ in range(2):
        write(ignite, "W_PAIR", batch, key=["a", "b"])
    ignite.sql('MERGE INTO W_PAIR ("a", "b", "v") VALUES (1, ?, 9)', "y")
    found = read(ignite, "W_PAIR").sort_by([("a", "ascending"), ("b", "ascending")])
    assert found.select(["a", "b", "v"]).to_pylist() == [
        {"a": 1, "b": "x", "v": 0.5},
        {"a": 1, "b": "y", "v": 9.0},
        {"a": 2, "b": "x", "v": 2.5},
    ]


def test_keys_that_sql_wrote_first_are_met(ignite: Cluster) -> None:
    ignite.sql(
        "CREATE TABLE W_FIRST (B VARCHAR, V DOUBLE, A BIGINT, PRIMARY KEY (A, B)) "
        'WITH "template=p7"'
    )
    ignite.sql("INSERT INTO W_FIRST (B, V, A) VALUES ('x', 1, 7)")
    batch = pa.record_batch({"a": [7], "b": ["x"], "v": [2.0]})
    write(ignite, "w_first", batch, key=["a", "b"])
    assert ignite.sql("SELECT A, B, V FROM W_FIRST") == [[7, "x", 2.0]]


def test_threads_write_side_by_side(ignite: Cluster) -> None:
    batch = rows(*range(4000))
    with contextlib.closing(connect(ignite.source("W_THREADS"))) as database:
        writer = database.writer(batch.schema, key=["id"], options=OPTIONS)
        with contextlib.closing(writer), ThreadPoolExecutor(8) as pool:
            list(pool.map(writer.write, [batch.slice(at, 100) for at in range(0, 4000, 100)]))
        assert database.count() == 4000


def test_rows_larger_than_a_request_are_written(ignite: Cluster) -> None:
    # Of 1.5 MB, where a request has 1 MB: larger ones are hard work for the heaps of these nodes.
    values = [bytes([number]) * (3 << 19) for number in range(3)]
    assert stored(ignite, "W_LARGE", rows(*values)).to_pylist() == values


def test_columns_of_an_existing_table_decide_the_types(ignite: Cluster) -> None:
    ignite.sql(
        "CREATE TABLE W_THERE (ID INT PRIMARY KEY, X REAL, D DECIMAL(10, 2), REST VARCHAR) "
        'WITH "template=p7"'
    )
    batch = pa.record_batch({"id": [1], "x": [0.5], "d": [decimal.Decimal("1.50")]})
    write(ignite, "w_there", batch)
    found = ignite.sql("SELECT ID, X, D, REST FROM W_THERE")
    assert found == [[1, 0.5, decimal.Decimal("1.50"), None]]


def refused(
    cluster: Cluster,
    batch: pa.RecordBatch,
    problem: str,
    *,
    key: Sequence[str] = ("id",),
    table: str = "W_REFUSED",
    options: dict[str, str] = OPTIONS,
) -> None:
    with (
        contextlib.closing(connect(cluster.source(table))) as database,
        pytest.raises(ConfigurationError, match=problem),
    ):
        database.writer(batch.schema, key=key, options=options)


def test_what_cant_become_a_table_is_refused(ignite: Cluster) -> None:
    batch = rows(1, 2)
    refused(ignite, batch, r"'idd' is not among the columns \(did you mean 'id'", key=["idd"])
    refused(ignite, batch, "besides its key", key=["id", "v"])
    refused(ignite, batch, "at least one key column", key=[])
    refused(ignite, rows([1.0]), "'v' is of type list", key=["v"])
    refused(ignite, batch, r"no option 'backup' \(did you mean 'backups'", options={"backup": "1"})
    refused(ignite, batch, "0 or more, and is '-1'", options={"backups": "-1"})
    refused(ignite, batch, "no cache template 'p63'", options={"template": "p63"})
    refused(ignite, batch, "can't be the name of a table", table="a table")
    twins = pa.record_batch({"id": [1], "Id": [2]})
    refused(ignite, twins, "'id' and 'Id' are one to Ignite")


def test_what_an_existing_table_can_t_take_is_refused(ignite: Cluster) -> None:
    write(ignite, "W_EXISTS", rows(1))
    batch = pa.record_batch({"id": [1], "w": [1]})
    refused(ignite, batch, "exists and has no column 'w'", table="W_EXISTS")
    refused(ignite, rows(1), "its key is id, not v", key=["v"], table="W_EXISTS")


@pytest.mark.parametrize(
    ("batch", "path"),
    [
        (rows({"a": 1}), "v"),
        (rows([[1.0]]), r"v\[\]"),
        (rows([1.0, None]), r"v\[\]"),
        (rows(None), "v"),
        (rows(1 << 63, kind=pa.uint64()), "v"),
        (rows(datetime.time(1, 2, 3, 4), kind=pa.time64("us")), "v"),
    ],
    ids=["struct", "nested list", "null in a list", "only nulls", "too large", "too fine"],
)
def test_what_ignite_cant_keep_is_named(ignite: Cluster, batch: pa.RecordBatch, path: str) -> None:
    with pytest.raises(UnsupportedType, match=path):
        write(ignite, f"W_BAD_{abs(hash(str(batch.schema)))}", batch)


def test_a_null_key_is_refused(ignite: Cluster) -> None:
    batch = pa.record_batch({"id": pa.array([1, None]), "v": [1, 2]})
    with pytest.raises(ConfigurationError, match=r"'id' is null in 1 row"):
        write(ignite, "W_NULL_KEY", batch)


def test_a_batch_of_other_columns_is_refused(ignite: Cluster) -> None:
    with contextlib.closing(connect(ignite.source("W_OTHER"))) as database:
        writer = database.writer(rows(1).schema, key=["id"], options=OPTIONS)
        with (
            contextlib.closing(writer),
            pytest.raises(ConfigurationError, match=r"v: int64, not .*v: string"),
        ):
            writer.write(rows("a"))
