"""Reading ranges of tokens from real nodes: all rows once, in order, from any place on."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest
from cassandra.concurrent import execute_concurrent_with_args

from insitu.databases import Database, ReadLimits, RowPosition, connect
from insitu.databases.cassandra.ranges import RING, TokenRange, format_range
from insitu.databases.cassandra.reading.reader import CassandraReader, CassandraStream
from insitu.errors import ConfigurationError, DatabaseUnavailable, DataChanged
from insitu.topology import DatabaseNode, NodeId, ShardId
from testbed.cassandra import Cluster
from tests.murmur import key_of

pytestmark = pytest.mark.cassandra

WHOLE = format_range(RING)
SMALL = ReadLimits(page_bytes=1 << 16, buffer_bytes=1 << 18)


class Tables:
    """Makes tables in a keyspace of this module's own, and opens them."""

    def __init__(self, cluster: Cluster, keyspace: str) -> None:
        self.cluster = cluster
        self.keyspace = keyspace
        self.number = 0
        self.stack = contextlib.ExitStack()

    def create(self, columns: str) -> str:
        self.number += 1
        name = f"{self.keyspace}.t{self.number}"
        self.cluster.cql(f"CREATE TABLE {name} ({columns})")
        return name

    def insert(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        with self.cluster.session() as session:
            marks = ", ".join("?" * len(columns))
            insert = session.prepare(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})")
            execute_concurrent_with_args(session, insert, rows, concurrency=8)

    def numbers(self, count: int) -> str:
        name = self.create("id bigint PRIMARY KEY, v vector<float, 4>")
        self.insert(name, ["id", "v"], ([i, [i, 0, 0, 1]] for i in range(count)))
        return name

    def blobs(self, count: int, size: int) -> str:
        name = self.create("id bigint PRIMARY KEY, data blob")
        self.insert(name, ["id", "data"], ([i, bytes(size)] for i in range(count)))
        return name

    def open(self, name: str, columns: Sequence[str] | None = None, **options: str) -> Database:
        source = self.cluster.source(name, columns)
        database = connect(dataclasses.replace(source, options=options))
        return self.stack.enter_context(contextlib.closing(database))

    def reader(
        self, name: str, columns: Sequence[str] | None = None, limits: ReadLimits = SMALL
    ) -> CassandraReader:
        """Pinned to one node that coordinates the whole ring."""
        database = self.open(name, columns)
        reader = database.reader(database.topology().nodes[0], limits)
        assert isinstance(reader, CassandraReader)
        return self.stack.enter_context(contextlib.closing(reader))


@pytest.fixture(scope="module")
def tables(cassandra: Cluster) -> Iterator[Tables]:
    cassandra.keyspace("reading", replicas=1)
    made = Tables(cassandra, "reading")
    with made.stack:
        yield made


def ids(batches: Iterable[pa.RecordBatch]) -> list[int]:
    return [row for batch in batches for row in batch.column("id").to_pylist()]


def plain(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def owned(database: Database) -> list[tuple[DatabaseNode, list[ShardId]]]:
    """Every node and the shards it is the first owner of."""
    topology = database.topology()
    return [
        (node, [shard.id for shard in topology.shards if shard.owners[0] == node.id])
        for node in topology.nodes
    ]


def test_the_shards_of_all_nodes_have_every_row_once(tables: Tables) -> None:
    database = tables.open(tables.numbers(2000))
    found: list[int] = []
    for node, shards in owned(database):
        with contextlib.closing(database.reader(node, SMALL)) as reader:
            for shard in shards:
                found += ids(reader.open(shard))
            assert reader.schema.names == ["id", "v"]
    assert sorted(found) == list(range(2000))


def test_rows_come_in_the_order_of_tokens_whatever_the_pages(tables: Tables) -> None:
    name = tables.numbers(3000)
    expected = [row[0] for row in tables.cluster.cql(f"SELECT id FROM {name}")]
    for page_bytes in (1 << 16, 4 << 20):
        reader = tables.reader(name, limits=ReadLimits(page_bytes=page_bytes))
        assert ids(reader.open(WHOLE)) == expected


def test_many_shards_at_once_give_what_each_gives_alone(tables: Tables) -> None:
    reader = tables.reader(tables.numbers(2000))
    shards = [format_range(part) for part in RING.cut(range(-(1 << 62), 1 << 62, 1 << 59))]
    alone = {shard: ids(reader.open(shard)) for shard in shards}
    together: dict[str, list[int]] = {}
    threads = [
        threading.Thread(target=lambda s=shard: together.update({s: ids(reader.open(s))}))
        for shard in shards
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    assert sum(map(len, alone.values())) == 2000


@pytest.fixture(scope="module")
def wide(tables: Tables) -> str:
    """Partitions of 1 or 301 rows, so that pages end inside of them."""
    name = tables.create("a int, b text, c int, s text, PRIMARY KEY ((a, b), c)")
    rows = [
        [a, "k" * (a % 3), c, "x" * 50] for a in range(20) for c in range(1 + 300 * (a % 4 == 0))
    ]
    tables.insert(name, ["a", "b", "c", "s"], rows)
    return name


def placed(stream: CassandraStream) -> tuple[list[dict[str, Any]], list[RowPosition]]:
    """All rows of a stream, and the position of each."""
    rows: list[dict[str, Any]] = []
    positions: list[RowPosition] = []
    for batch in stream:
        rows += batch.to_pylist()
        positions += [stream.keys().position(row) for row in range(batch.num_rows)]
    return rows, positions


def test_reading_goes_on_from_any_row_of_any_partition(tables: Tables, wide: str) -> None:
    reader = tables.reader(wide, ["s", "c", "a"])
    rows, positions = placed(reader.open(WHOLE))
    assert list(rows[0]) == ["s", "c", "a"]
    choose = random.Random(1)
    for start in [0, len(rows) - 1, *choose.sample(range(len(rows)), 20)]:
        assert plain(reader.open(WHOLE, positions[start])) == rows[start:]


def ordered(tables: Tables, order: str, columns: str = "a int, b text, c int") -> str:
    """Two partitions of 6 * 40 rows each and one with nothing but its static column."""
    key = "PRIMARY KEY (p, a, b, c)"
    name = f"{tables.keyspace}.{re.sub('[^a-z]', '', order.lower())}"
    tables.cluster.cql(
        f"CREATE TABLE {name} (p int, s int static, {columns}, v int, {key})"
        f" WITH CLUSTERING ORDER BY ({order})"
    )
    rows = ([p, n % 3 - 1, "" if n % 2 else "b", n, n] for p in range(2) for n in range(0, 480, 2))
    tables.insert(name, ["p", "a", "b", "c", "v"], rows)
    tables.cluster.cql(f"INSERT INTO {name} (p, s) VALUES (2, 7)")
    return name


ORDERS = ["a ASC, b ASC, c ASC", "a DESC, b DESC, c DESC", "a ASC, b DESC, c ASC", "a DESC, b ASC"]


@pytest.mark.parametrize("order", ORDERS)
def test_reading_goes_on_in_any_clustering_order_from_rows_that_are_gone_too(
    tables: Tables, order: str
) -> None:
    name = ordered(tables, order)
    reader = tables.reader(name, ["v", "p"])
    rows, positions = placed(reader.open(WHOLE))
    assert len(rows) == 481
    choose = random.Random(2)
    for start in [0, 480, *choose.sample(range(481), 15)]:
        assert plain(reader.open(WHOLE, positions[start])) == rows[start:]
    static = next(n for n, row in enumerate(rows) if row["v"] is None)
    assert plain(reader.open(WHOLE, positions[static])) == rows[static:]
    gone = choose.sample([n for n in range(480) if n != static], 100)
    for start in gone:
        a, b, c = rows[start]["v"] % 3 - 1, "" if rows[start]["v"] % 2 else "b", rows[start]["v"]
        tables.cluster.cql(
            f"DELETE FROM {name} WHERE p = {rows[start]['p']} AND a = {a} AND b = '{b}' AND c = {c}"
        )
    for start in gone[:20]:
        left = [row for n, row in enumerate(rows) if n >= start and n not in gone]
        assert plain(reader.open(WHOLE, positions[start])) == left


@pytest.mark.parametrize("clustering", [True, False])
def test_partitions_that_share_a_token_are_all_read_on(tables: Tables, clustering: bool) -> None:
    name = tables.create(f"p blob, c int, PRIMARY KEY (p{', c' if clustering else ''})")
    rows = (
        [key_of(token, other), c]
        for token in (-5, 7)
        for other in range(3)
        for c in range(20 if clustering else 1)
    )
    tables.insert(name, ["p", "c"], rows)
    reader = tables.reader(name)
    found, positions = placed(reader.open(WHOLE))
    assert {position.number for position in positions} == {-5, 7}
    for start in range(len(found)):
        assert plain(reader.open(WHOLE, positions[start])) == found[start:]


def test_rows_up_to_a_position_are_told_from_those_after_it(tables: Tables, wide: str) -> None:
    reader = tables.reader(wide, ["c"])
    _, positions = placed(reader.open(WHOLE))
    stream = reader.open(WHOLE)
    before = 0
    for batch in stream:
        for place in range(0, len(positions), 97):
            expected = min(max(place + 1 - before, 0), batch.num_rows)
            assert stream.keys().up_to(positions[place]) == expected
        before += batch.num_rows


def test_going_on_in_a_large_partition_reads_about_what_is_left(tables: Tables) -> None:
    name = tables.create("p int, c int, data blob, PRIMARY KEY (p, c)")
    tables.insert(name, ["p", "c", "data"], ([1, c, bytes(2000)] for c in range(5000)))
    reader = tables.reader(name, limits=ReadLimits(page_bytes=1 << 16))
    _, positions = placed(reader.open(WHOLE))
    before = reader.counters.bytes
    assert len(plain(reader.open(WHOLE, positions[-100]))) == 100
    assert 100 * 2000 < reader.counters.bytes - before < 110 * 2100


def test_a_condition_on_the_key_still_lets_reading_go_on_from_any_row(
    tables: Tables, wide: str
) -> None:
    database = tables.open(wide, ["a", "c"], where="c > 30")
    with contextlib.closing(database.reader(database.topology().nodes[0], SMALL)) as reader:
        assert isinstance(reader, CassandraReader)
        rows, positions = placed(reader.open(WHOLE))
        assert {row["c"] for row in rows} == set(range(31, 301))
        for start in (0, 17, 1000, len(rows) - 1):
            assert plain(reader.open(WHOLE, positions[start])) == rows[start:]


def test_a_condition_on_another_column_is_joined_with_the_rest_of_a_partition(
    tables: Tables,
) -> None:
    name = tables.create("p int, c int, v int, data blob, PRIMARY KEY (p, c)")
    tables.insert(name, ["p", "c", "v", "data"], ([1, c, c % 2, bytes(2000)] for c in range(2000)))
    database = tables.open(name, ["c"], where="v = 1")
    with contextlib.closing(database.reader(database.topology().nodes[0], SMALL)) as reader:
        assert isinstance(reader, CassandraReader)
        rows, positions = placed(reader.open(WHOLE))
        assert [row["c"] for row in rows] == list(range(1, 2000, 2))
        before = reader.counters.bytes
        assert plain(reader.open(WHOLE, positions[990])) == rows[990:]
        assert reader.counters.bytes - before < 2000


def test_the_columns_of_a_table_without_clustering_are_all_that_is_asked_for(
    tables: Tables,
) -> None:
    reader = tables.reader(tables.numbers(1))
    assert [column.name for column in reader._prepared.columns] == ["id", "v"]
    assert len(reader._statements) == 1


def test_large_blobs_come_alone_and_reading_goes_on_from_any_of_them(tables: Tables) -> None:
    reader = tables.reader(tables.blobs(20, 200_000), limits=ReadLimits(page_bytes=1 << 20))
    stream = reader.open(WHOLE)
    for batch in stream:
        assert batch.column("data").to_pylist() == [bytes(200_000)]
    rows, positions = placed(reader.open(WHOLE))
    assert sorted(row["id"] for row in rows) == list(range(20))
    for start in (0, 7, 19):
        assert plain(reader.open(WHOLE, positions[start])) == rows[start:]


def test_a_position_reads_on_without_reading_the_shard_again(tables: Tables) -> None:
    name = tables.numbers(3000)
    reader = tables.reader(name, limits=ReadLimits(page_bytes=1 << 16))
    _, positions = placed(reader.open(WHOLE))
    before = reader.counters.bytes
    assert len(ids(reader.open(WHOLE, positions[-1]))) == 1
    assert reader.counters.bytes - before < 1000


def test_rows_inserted_elsewhere_shift_nothing(tables: Tables) -> None:
    name = tables.numbers(1000)
    reader = tables.reader(name)
    rows, positions = placed(reader.open(WHOLE))
    tables.insert(name, ["id"], ([i] for i in range(1000, 3000)))
    again = ids(reader.open(WHOLE, positions[500]))
    assert len(again) > 500
    assert [row for row in again if row < 1000] == [row["id"] for row in rows[500:]]


def test_a_part_of_a_shard_begins_at_a_position_only_if_that_lies_in_it(tables: Tables) -> None:
    reader = tables.reader(tables.numbers(500))
    below, above = (format_range(part) for part in RING.cut([0]))
    lower, positions = placed(reader.open(below))
    upper, others = placed(reader.open(above))
    assert plain(reader.open(above, positions[-1])) == upper
    assert plain(reader.open(below, others[0])) == []
    assert plain(reader.open(below, positions[-2])) == lower[-2:]


def test_a_position_in_a_table_of_another_key_is_refused(tables: Tables, wide: str) -> None:
    _, positions = placed(tables.reader(wide).open(WHOLE))
    with pytest.raises(DataChanged, match="another primary key"):
        tables.reader(tables.numbers(1)).open(WHOLE, positions[0])


def test_pages_have_the_size_that_was_asked_for(tables: Tables) -> None:
    reader = tables.reader(tables.blobs(300, 10_000), limits=ReadLimits(page_bytes=1 << 18))
    sizes = [batch.nbytes for batch in reader.open(WHOLE)]
    assert sum(sizes) > 300 * 10_000
    assert max(sizes) < 3 << 18


def test_a_row_that_no_reader_can_hold_is_named(tables: Tables) -> None:
    name = tables.blobs(3, 1 << 20)
    reader = tables.reader(name, limits=ReadLimits(page_bytes=1 << 18, buffer_bytes=1 << 19))
    with pytest.raises(ConfigurationError, match=r"1,048,\d+ bytes, and a reader holds 524,288"):
        ids(reader.open(WHOLE))
    rest = tables.reader(name, ["id"], ReadLimits(page_bytes=1 << 18, buffer_bytes=1 << 19))
    assert sorted(ids(rest.open(WHOLE))) == [0, 1, 2]


def test_rows_that_grow_are_asked_for_in_smaller_pages(tables: Tables) -> None:
    name = tables.create("id bigint, c int, data blob, PRIMARY KEY (id, c)")
    sizes = [10] * 2000 + [100_000] * 60
    rows = ([1, number, bytes(size)] for number, size in enumerate(sizes))
    tables.insert(name, ["id", "c", "data"], rows)
    reader = tables.reader(name, limits=ReadLimits(page_bytes=1 << 18, buffer_bytes=1 << 21))
    found = [len(d) for batch in reader.open(WHOLE) for d in batch.column("data").to_pylist()]
    assert found == sizes


def test_a_condition_leaves_rows_out_at_the_server(tables: Tables) -> None:
    name = tables.numbers(200)
    database = tables.open(name, where="id > 150")
    with contextlib.closing(database.reader(database.topology().nodes[0])) as reader:
        assert sorted(ids(reader.open(WHOLE))) == list(range(151, 200))
    with pytest.raises(ConfigurationError, match="Undefined column name idd"):
        tables.open(name, where="idd > 150").schema()


def test_an_empty_range_has_no_batch(tables: Tables) -> None:
    reader = tables.reader(tables.numbers(1))
    assert list(reader.open(format_range(TokenRange(1, 2)))) == []


def test_a_broken_connection_costs_no_row_and_repeats_none(tables: Tables) -> None:
    reader = tables.reader(tables.blobs(200, 10_000))
    expected = ids(reader.open(WHOLE))
    stream = iter(reader.open(WHOLE))
    found = ids([next(stream)])
    for worker in reader._fetcher._workers:
        if worker.connection is not None:
            worker.connection.close()
    assert found + ids(stream) == expected


def test_a_statement_that_the_server_forgot_is_prepared_again(tables: Tables) -> None:
    name = tables.blobs(200, 10_000)
    reader = tables.reader(name)
    stream = iter(reader.open(WHOLE))
    found = ids([next(stream)])
    tables.cluster.cql(f"ALTER TABLE {name} ADD more int")
    assert sorted(found + ids(stream)) == list(range(200))


@pytest.mark.parametrize("change", ["DROP TABLE {0}", "ALTER TABLE {0} DROP data"])
def test_a_table_that_changes_under_the_reader_is_noticed(tables: Tables, change: str) -> None:
    name = tables.blobs(400, 10_000)
    reader = tables.reader(name)
    stream = iter(reader.open(WHOLE))
    next(stream)
    tables.cluster.cql(change.format(name))
    with pytest.raises(DataChanged, match="dropped or altered"):
        ids(stream)


def test_tombstones_make_pages_smaller(tables: Tables) -> None:
    name = dug(tables, rows=150, tombstones=1000)
    reader = tables.reader(name, limits=ReadLimits(page_bytes=4 << 20))
    assert len(ids(reader.open(WHOLE))) == 150


def test_more_tombstones_than_any_page_may_pass_are_named(tables: Tables) -> None:
    reader = tables.reader(dug(tables, rows=1, tombstones=101_000))
    with pytest.raises(DatabaseUnavailable, match=r"deleted rows.*compact the table"):
        ids(reader.open(WHOLE))


def dug(tables: Tables, rows: int, tombstones: int) -> str:
    """A table whose rows have so many deleted entries each."""
    name = tables.create("id bigint PRIMARY KEY, m map<int, int>")
    with tables.cluster.session() as session:
        insert = session.prepare(f"INSERT INTO {name} (id) VALUES (?)")
        delete = session.prepare(f"UPDATE {name} SET m = m - ? WHERE id = ?")
        steps = range(0, tombstones, 1000)
        keys = [(set(range(at, at + 1000)), row) for row in range(rows) for at in steps]
        execute_concurrent_with_args(session, insert, [(row,) for row in range(rows)])
        execute_concurrent_with_args(session, delete, keys, concurrency=10)
    return name


def test_another_node_than_the_one_to_read_from_is_refused(tables: Tables) -> None:
    database = tables.open(tables.numbers(1))
    node = database.topology().nodes[0]
    stranger = DatabaseNode(NodeId("00000000-0000-0000-0000-000000000000"), node.host, node.port)
    with pytest.raises(DatabaseUnavailable, match=f"answers Cassandra node {node.id}"):
        database.reader(stranger)


def test_what_is_no_shard_is_refused(tables: Tables) -> None:
    reader = tables.reader(tables.numbers(1))
    with pytest.raises(ConfigurationError, match="start:end"):
        reader.open(ShardId("7"))


def test_an_early_end_leaves_no_thread(tables: Tables) -> None:
    before = threading.enumerate()
    database = tables.open(tables.blobs(200, 10_000))
    reader = database.reader(database.topology().nodes[0], SMALL)
    database.close()
    stream = reader.open(WHOLE)
    next(iter(stream))
    stream.close()
    stream.close()
    reader.close()
    reader.close()
    assert not [t for t in threading.enumerate() if t not in before and "reader" in t.name]
    with pytest.raises(DatabaseUnavailable, match="closed"):
        reader.open(WHOLE)


def test_a_node_that_dies_is_said_to_be_gone(fresh_cassandra: Callable[..., Cluster]) -> None:
    cluster = fresh_cassandra(nodes=1)
    cluster.keyspace("k")
    made = Tables(cluster, "k")
    with made.stack:
        reader = made.reader(made.blobs(300, 10_000))
        stream = iter(reader.open(WHOLE))
        next(stream)
        cluster.nodes[0].kill()
        with pytest.raises(DatabaseUnavailable, match="tried 3 times"):
            ids(stream)


def test_large_rows_leave_a_small_server_alive(fresh_cassandra: Callable[..., Cluster]) -> None:
    cluster = fresh_cassandra(nodes=1, heap_mb=256)
    cluster.keyspace("k")
    made = Tables(cluster, "k")
    with made.stack:
        name = made.blobs(400, 1 << 18)
        readers = [made.reader(name, limits=ReadLimits()) for _ in range(2)]
        shards = [format_range(part) for part in RING.cut(range(-(1 << 62), 1 << 62, 1 << 60))]
        streams = [reader.open(shard) for reader in readers for shard in shards]
        assert sorted(row for stream in streams for row in ids(stream)) == sorted(
            [*range(400), *range(400)]
        )
