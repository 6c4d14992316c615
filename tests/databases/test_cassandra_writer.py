"""Arrow batches into real tables, read back by the driver and by our own reader."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click.testing
import pyarrow as pa
import pyarrow.parquet
import pytest

from insitu.databases import connect
from insitu.errors import ConfigurationError, DatabaseUnavailable, UnsupportedType
from insitu_operator.cli.load import load
from testbed.cassandra import Cluster

# Booting counts as part of the first test that needs a cluster.
pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(600)]

Start = Callable[..., Cluster]

VALUES: dict[str, tuple[pa.DataType, list[object]]] = {
    "boolean": (pa.bool_(), [True, False]),
    "tinyint": (pa.int8(), [-128, 127]),
    "smallint": (pa.int16(), [-(1 << 15), 7]),
    "int": (pa.int32(), [-(1 << 31), 7]),
    "bigint": (pa.int64(), [-(1 << 63), 7]),
    "varint": (pa.decimal128(38, 0), [decimal.Decimal(1 << 70), decimal.Decimal(-1)]),
    "float": (pa.float32(), [0.5, float("inf")]),
    "double": (pa.float64(), [0.1, -0.0]),
    "text": (pa.string(), ["", "é"]),
    "blob": (pa.binary(), [b"", b"\0\xff"]),
    "uuid": (pa.uuid(), [uuid.UUID(int=1), uuid.UUID(int=1 << 127)]),
    "date": (pa.date32(), [datetime.date(1969, 12, 31), datetime.date(2024, 2, 29)]),
    "time": (pa.time64("ns"), [datetime.time(0, 0), datetime.time(23, 59, 59, 999_999)]),
    "timestamp": (
        pa.timestamp("ms"),
        [
            datetime.datetime.fromtimestamp(t, datetime.UTC).replace(tzinfo=None)
            for t in (-3600, 1.005)
        ],
    ),
    "decimal": (pa.decimal128(20, 2), [decimal.Decimal("-1.25"), decimal.Decimal("1e10")]),
    "vector": (pa.list_(pa.float32(), 3), [[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]]),
    "texts": (pa.list_(pa.string(), 2), [["", "x" * 300], ["a", "b"]]),
    "list": (pa.list_(pa.int32()), [[1, 2], [3]]),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1)], [("b", 2), ("c", 3)]]),
}


@pytest.fixture(scope="module")
def made(cassandra: Cluster) -> Cluster:
    cassandra.keyspace("made", 2)
    return cassandra


def write(
    cluster: Cluster,
    table: str,
    batch: pa.RecordBatch,
    *key: str,
    options: Mapping[str, str] | None = None,
) -> None:
    with writing(cluster, table, batch.schema, *key, options=options) as put:
        put(batch)


@contextlib.contextmanager
def writing(
    cluster: Cluster,
    table: str,
    schema: pa.Schema,
    *key: str,
    options: Mapping[str, str] | None = None,
) -> Iterator[Callable[[pa.RecordBatch], None]]:
    with (
        contextlib.closing(connect(cluster.source(table))) as database,
        contextlib.closing(database.writer(schema, key=key or ("id",), options=options)) as writer,
    ):
        yield writer.write


def read(cluster: Cluster, table: str) -> pa.Table:
    with contextlib.closing(connect(cluster.source(table))) as database:
        topology = database.topology()
        batches = []
        for shard in topology.shards:
            reader = database.reader(topology.node[shard.owners[0]])
            with contextlib.closing(reader):
                batches += list(reader.open(shard.id))
        return pa.Table.from_batches(batches, database.schema()).sort_by("id")


def numbers(count: int, value: float = 0.5) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(range(count), pa.int64()), "x": [value] * count})


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_as_they_went_in(made: Cluster, name: str) -> None:
    kind, values = VALUES[name]
    batch = pa.record_batch(
        [pa.array(range(3), pa.int32()), pa.array([*values, None], kind)], names=["id", "v"]
    )
    write(made, f"made.t_{name}", batch)
    assert read(made, f"made.t_{name}").column("v").to_pylist() == [*values, None]


def test_a_table_is_made_with_the_types_that_fit(made: Cluster) -> None:
    schema = pa.schema(
        [
            ("id", pa.uint32()),
            ("v", pa.list_(pa.float32(), 4)),
            ("s", pa.dictionary(pa.int8(), pa.string())),
            ("t", pa.timestamp("us", "UTC")),
        ]
    )
    with writing(made, "made.types", schema):
        pass
    rows = made.cql(
        "SELECT column_name, type FROM system_schema.columns"
        " WHERE keyspace_name = 'made' AND table_name = 'types'"
    )
    assert dict(rows) == {
        "id": "bigint",
        "s": "text",
        "t": "timestamp",
        "v": "vector<float, 4>",
    }


def test_the_same_key_again_replaces_the_row(made: Cluster) -> None:
    write(made, "made.twice", numbers(500))
    write(made, "made.twice", numbers(500, 1.5))
    rows = made.cql("SELECT id, x FROM made.twice")
    assert sorted(rows) == [(number, 1.5) for number in range(500)]


def test_further_key_columns_sort_the_rows_of_a_partition(made: Cluster) -> None:
    batch = pa.record_batch(
        {"k": [i // 100 for i in range(300)], "c": list(range(300)), "x": [0.5] * 300}
    )
    write(made, "made.wide", batch, "k", "c")
    rows = made.cql("SELECT c FROM made.wide WHERE k = 1")
    assert [number for (number,) in rows] == list(range(100, 200))


def test_a_new_keyspace_has_the_asked_number_of_copies(cassandra: Cluster) -> None:
    write(cassandra, "copied.t", numbers(1), options={"replicas": "2"})
    [(replication,)] = cassandra.cql(
        "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = 'copied'"
    )
    assert replication["datacenter1"] == "2"


def test_what_does_not_fit_is_refused(made: Cluster) -> None:
    write(made, "made.narrow", numbers(1))
    for schema, error, problem in [
        (pa.schema([("id", pa.int64()), ("y", pa.int32())]), ConfigurationError, "no column 'y'"),
        (pa.schema([("id", pa.int64()), ("x", pa.string())]), UnsupportedType, "^x: string does"),
        (
            pa.schema([("id", pa.int64()), ("x", pa.struct([("a", pa.int8())]))]),
            UnsupportedType,
            "^x: ",
        ),
    ]:
        with pytest.raises(error, match=problem), writing(made, "made.narrow", schema):
            pass
    with (
        pytest.raises(ConfigurationError, match=r"primary key .* is \(id\), not \(x\)"),
        writing(made, "made.narrow", numbers(1).schema, "x"),
    ):
        pass
    with (
        pytest.raises(ConfigurationError, match="key column 'idd' is not among the columns"),
        writing(made, "made.narrow", numbers(1).schema, "idd"),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"backups": "1"}, "option 'backups' is not known"),
        ({"replicas": "4"}, "replicas 4: write a number from 1 to 3"),
        ({"consistency": "MOST"}, "consistency 'MOST' is not known"),
    ],
)
def test_an_option_that_can_not_work_is_refused(
    made: Cluster, options: Mapping[str, str], problem: str
) -> None:
    with (
        pytest.raises(ConfigurationError, match=problem),
        writing(made, "made.never", numbers(1).schema, options=options),
    ):
        pass
    assert ("never",) not in made.cql(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'made'"
    )


def test_a_value_out_of_range_and_a_missing_key_are_named(made: Cluster) -> None:
    made.cql("CREATE TABLE made.small (id bigint PRIMARY KEY, x tinyint)")
    schema = pa.schema([("id", pa.int64()), ("x", pa.int64())])
    with writing(made, "made.small", schema) as put:
        with pytest.raises(UnsupportedType, match=r"^x: int64 does not fit the column"):
            put(pa.record_batch([[1], [300]], schema=schema))
        with pytest.raises(ConfigurationError, match="key column 'id' is null in 1 row"):
            put(pa.record_batch([[None], [3]], schema=schema))
        with pytest.raises(ConfigurationError, match="the writer takes rows of"):
            put(pa.record_batch({"id": [1]}))


def test_a_node_that_dies_in_the_middle_is_written_around_or_named(
    fresh_cassandra: Start,
) -> None:
    cluster = fresh_cassandra(nodes=3)
    cluster.keyspace("twice", 3)
    cluster.keyspace("once", 1)
    schema = numbers(1).schema
    with writing(cluster, "twice.t", schema) as put, writing(cluster, "once.t", schema) as lost:
        put(numbers(100))
        cluster.nodes[2].kill()
        put(numbers(300))
        with pytest.raises(DatabaseUnavailable, match="after 8 tries: "):
            lost(numbers(300))
    assert len(cluster.cql("SELECT id FROM twice.t")) == 300


def test_files_are_loaded(made: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.Table.from_batches([numbers(1000)]), path)
    host, port = made.endpoints[0]
    arguments = [str(path), "--cassandra", f"{host}:{port}", "--table", "made.files", "--key", "id"]

    def run(*more: str) -> click.testing.Result:
        return click.testing.CliRunner().invoke(load, [*arguments, *more], catch_exceptions=False)

    first = run()
    assert "creating table made.files" in first.output
    assert "1,000 rows" in first.output
    assert first.exit_code == 0
    second = run()
    assert "table made.files exists" in second.output
    assert len(made.cql("SELECT id FROM made.files")) == 1000
    assert "--backups is not an option of Cassandra tables" in run("--backups", "1").output
    assert "with --ignite, or --cassandra" in run("--ignite", "x").output
