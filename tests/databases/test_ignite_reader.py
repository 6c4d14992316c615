"""The reader on real servers: every row once, from the pinned node alone, and never too much."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pytest

from insitu.databases import ReadLimits, RowPosition, connect
from insitu.databases.ignite import IgniteDatabase
from insitu.databases.ignite.binary.decode import read_rows
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.cluster.catalog import find_table
from insitu.databases.ignite.cluster.tables import read_binary_type, read_layout
from insitu.databases.ignite.columns.arrow import rows_to_batch
from insitu.databases.ignite.columns.quick import quick_batch
from insitu.databases.ignite.protocol import sql
from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.reading.pages import SCAN, parse_scan, scan_request
from insitu.databases.ignite.reading.reader import IgniteReader, IgniteStream
from insitu.errors import ConfigurationError, DatabaseUnavailable, NotOwner
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId
from testbed.ignite import Cluster
from tests.waiting import until

pytestmark = pytest.mark.ignite

SMALL = pa.schema([("id", pa.int64()), ("x", pa.list_(pa.float32())), ("label", pa.int32())])
BLOBS = pa.schema([("id", pa.int64()), ("data", pa.binary())])
MB = 1_000_000

Load: TypeAlias = Callable[..., IgniteDatabase]


def small_rows(rows: int) -> pa.RecordBatch:
    ids = np.arange(rows)
    features = pa.FixedSizeListArray.from_arrays(np.arange(rows * 8, dtype=np.float32), 8)
    columns = [pa.array(ids), features.cast(pa.list_(pa.float32())), pa.array(ids.astype(np.int32))]
    return pa.RecordBatch.from_arrays(columns, schema=SMALL)


def blob_rows(sizes: Sequence[int]) -> pa.RecordBatch:
    blobs = [bytes([row % 251]) * size for row, size in enumerate(sizes)]
    return pa.RecordBatch.from_arrays([pa.array(range(len(sizes))), pa.array(blobs)], schema=BLOBS)


@pytest.fixture
def loaded() -> Iterator[Callable[..., IgniteDatabase]]:
    """Fills a table of a cluster; what it opens is closed with the test."""
    with contextlib.ExitStack() as stack:

        def load(
            cluster: Cluster,
            table: str,
            rows: pa.RecordBatch,
            partitions: int = 64,
            backups: int = 0,
        ) -> IgniteDatabase:
            database = stack.enter_context(contextlib.closing(connect(cluster.source(table))))
            assert isinstance(database, IgniteDatabase)
            options = {"template": f"p{partitions}", "backups": str(backups)}
            writer = database.writer(rows.schema, key=["id"], options=options)
            with contextlib.closing(writer):
                writer.write(rows)
            return database

        yield load


def owned(database: IgniteDatabase) -> Iterator[tuple[DatabaseNode, list[Shard]]]:
    """Each node with the shards it is the primary owner of."""
    topology = database.topology()
    for node in topology.nodes:
        yield node, [shard for shard in topology.shards if shard.owners[0] == node.id]


def ids(stream: IgniteStream) -> list[int]:
    return [key for batch in stream for key in batch.column("id").to_pylist()]


def read(reader: IgniteReader, shards: Sequence[Shard], ahead: int = 8) -> list[int]:
    """All ids, with some shards always open ahead of the one that is read."""
    streams = [reader.open(shard.id) for shard in shards[:ahead]]
    found: list[int] = []
    for number in range(len(shards)):
        found += ids(streams[number])
        if number + ahead < len(shards):
            streams.append(reader.open(shards[number + ahead].id))
    return found


@pytest.mark.parametrize("partitions", [1, 7, 1024])
def test_all_nodes_together_give_every_row_once(
    ignite: Cluster, loaded: Load, partitions: int
) -> None:
    database = loaded(ignite, f"ONCE_{partitions}", small_rows(3000), partitions)
    found: list[int] = []
    for node, shards in owned(database):
        reader = database.reader(node)
        mine = read(reader, shards)
        assert reader.counters.rows == len(mine)
        reader.close()
        found += mine
    assert sorted(found) == list(range(3000))


def test_the_rows_are_what_was_written(ignite: Cluster, loaded: Load) -> None:
    rows = small_rows(500)
    database = loaded(ignite, "SAME_ROWS", rows)
    batches = []
    for node, shards in owned(database):
        reader = database.reader(node)
        batches += [batch for shard in shards for batch in reader.open(shard.id)]
        reader.close()
    table = pa.Table.from_batches(batches)
    assert table.schema.equals(database.schema())
    assert table.sort_by("id").to_pylist() == rows.to_pylist()


def test_real_pages_are_read_alike_in_every_way(ignite: Cluster, loaded: Load) -> None:
    texts = pa.array(["a\0b", None, "\U0001f600", ""] * 5)
    columns = {
        "id": pa.array(range(20)),
        "text": texts,
        "flag": pa.array([True, None] * 10),
        "when": pa.array([1_700_000_000_000_000_001] * 20, pa.timestamp("ns")),
        "uid": pa.array([uuid.UUID(int=n).bytes for n in range(20)], pa.uuid()),
        "vector": pa.array([[1.5, 2.5], []] * 10, pa.list_(pa.float32())),
        "blob": pa.array([b"x", None, b"", b"yz"] * 5),
        "small": pa.array(range(20), pa.int8()),
    }
    table = pa.record_batch(columns)
    database = loaded(ignite, "EVERY_WAY", table, partitions=1)
    [(node, _)] = [(n, s) for n, s in owned(database) if s]
    with Connection.open(node.host, node.port) as connection:
        types = BinaryTypes(lambda number: read_binary_type(connection, number))
        found = find_table(connection, "EVERY_WAY")
        layout = read_layout(connection, found, types)
        _, page = parse_scan(connection.request(SCAN, scan_request(found.cache_id, 0, 100)))
    slow = rows_to_batch(read_rows(page.data, page.start, page.count, types)[0], layout)
    quick = quick_batch(page.data, page.start, page.count, layout, types, ("scattered",))
    assert quick is not None
    assert quick.equals(slow)
    assert quick.num_rows == 20
    assert quick.sort_by("id").column("text").to_pylist() == texts.to_pylist()
    alike = quick_batch(page.data, page.start, 1, layout, types, ("strided",))
    assert alike is not None
    assert alike.equals(slow.slice(0, 1))


def test_a_backup_copy_gives_the_same_rows_in_the_same_order(ignite: Cluster, loaded: Load) -> None:
    database = loaded(ignite, "BACKUPS", small_rows(2000), partitions=7, backups=1)
    topology = database.topology()
    shard = topology.shards[0]
    first, second = (database.reader(topology.node[owner]) for owner in shard.owners)
    assert sorted(ids(first.open(shard.id))) == sorted(ids(second.open(shard.id)))
    assert first.counters.rows == second.counters.rows > 0
    first.close()
    second.close()


def test_a_node_without_a_copy_refuses_the_shard(ignite: Cluster, loaded: Load) -> None:
    database = loaded(ignite, "NO_COPY", small_rows(100))
    (node, _), (_, theirs), *_ = owned(database)
    reader = database.reader(node)
    with pytest.raises(NotOwner):
        ids(reader.open(theirs[0].id))
    reader.close()


def test_another_node_at_the_address_is_refused_by_both_names(
    ignite: Cluster, loaded: Load
) -> None:
    database = loaded(ignite, "WRONG_NODE", small_rows(10))
    node = database.topology().nodes[0]
    with pytest.raises(DatabaseUnavailable, match="'ignite-0', not 'ignite-9'"):
        database.reader(DatabaseNode(NodeId("ignite-9"), node.host, node.port))


def test_a_shard_that_is_no_partition_is_refused(ignite: Cluster, loaded: Load) -> None:
    database = loaded(ignite, "NO_SHARD", small_rows(10))
    reader = database.reader(database.topology().nodes[0])
    with pytest.raises(ConfigurationError, match="'-7'"):
        reader.open(ShardId("-7"))
    reader.close()


def test_reading_goes_on_from_any_row(ignite: Cluster, loaded: Load) -> None:
    database = loaded(ignite, "SKIPPED", small_rows(3000), partitions=1)
    [(node, [shard])] = [(n, s) for n, s in owned(database) if s]
    reader = database.reader(node, ReadLimits(page_bytes=1 << 16))
    everything: list[int] = []
    positions: list[RowPosition] = []
    stream = reader.open(shard.id)
    for batch in stream:
        everything += batch.column("id").to_pylist()
        positions += [stream.keys().position(row) for row in range(batch.num_rows)]
    assert len({position.number for position in positions}) > 2900
    for start in (0, 1, 4, 5, 1234, 2999):
        before = reader.counters.rows
        assert ids(reader.open(shard.id, positions[start])) == everything[start:]
        assert reader.counters.rows - before == 3000 - start
    reader.close()


def test_pages_are_sized_in_bytes_whatever_a_row_has(ignite: Cluster, loaded: Load) -> None:
    sizes = [100] * 200 + [200_000] * 20
    database = loaded(ignite, "SIZED", blob_rows(sizes), partitions=1)
    [(node, [shard])] = [(n, s) for n, s in owned(database) if s]
    reader = database.reader(node, ReadLimits(page_bytes=1 << 20, buffer_bytes=4 << 20))
    batches = list(reader.open(shard.id))
    assert sum(batch.num_rows for batch in batches) == len(sizes)
    assert max(batch.nbytes for batch in batches) <= 5 << 20
    assert len(batches) < 60
    reader.close()


def test_what_nobody_takes_stays_within_the_buffer(ignite: Cluster, loaded: Load) -> None:
    database = loaded(ignite, "BUFFERED", blob_rows([50_000] * 300), partitions=7)
    node, shards = max(owned(database), key=lambda each: len(each[1]))
    limits = ReadLimits(page_bytes=1 << 18, buffer_bytes=2 << 20)
    reader = database.reader(node, limits)
    streams = [reader.open(shard.id) for shard in shards]
    quiet = Quiet(lambda: reader.counters.requests)
    until(quiet)
    # The probe of four rows at the beginning is read once more.
    assert 1 << 18 <= reader.counters.bytes <= limits.buffer_bytes + 5 * 50_000
    assert sum(len(ids(stream)) for stream in streams) == sum(shard.weight for shard in shards)
    reader.close()


class Quiet:
    """True once a number has stayed the same, above zero, for 25 looks."""

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._last = 0
        self._same = 0

    def __call__(self) -> bool:
        now = self._number()
        self._same = self._same + 1 if now and now == self._last else 0
        self._last = now
        return self._same == 25


def test_streams_may_be_read_side_by_side_from_many_threads(ignite: Cluster, loaded: Load) -> None:
    database = loaded(ignite, "THREADS", small_rows(3000), partitions=7)
    node, shards = max(owned(database), key=lambda each: len(each[1]))
    reader = database.reader(node, ReadLimits(page_bytes=1 << 16, buffer_bytes=1 << 17))
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda s=shard: found.extend(ids(reader.open(s.id))))
        for shard in shards
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == sum(shard.weight for shard in shards)
    reader.close()


def test_an_early_end_leaves_no_cursor_and_no_thread(ignite: Cluster, loaded: Load) -> None:
    database = loaded(ignite, "EARLY", blob_rows([20_000] * 200), partitions=1)
    [(node, [shard])] = [(n, s) for n, s in owned(database) if s]
    before = threading.enumerate()
    reader = database.reader(node, ReadLimits(page_bytes=1 << 16, buffer_bytes=1 << 18))
    stream = reader.open(shard.id)
    next(iter(stream))
    assert len(threading.enumerate()) > len(before)
    assert len(scans(node, "EARLY")) == 1
    stream.close()
    stream.close()
    until(lambda: not scans(node, "EARLY"))
    reader.close()
    reader.close()
    assert threading.enumerate() == before


def scans(node: DatabaseNode, table: str) -> list[tuple[int, bool]]:
    """Open scans of a table by the node's own account: partition, and whether local."""
    with Connection.open(node.host, node.port) as connection:
        return sql.system_view(
            connection,
            f"SELECT PARTITION, LOCAL FROM SYS.SCAN_QUERIES WHERE CACHE_NAME = '{table}'",
        )


def test_a_closed_reader_says_so(ignite: Cluster, loaded: Load) -> None:
    database = loaded(ignite, "CLOSED", small_rows(10))
    reader = database.reader(database.topology().nodes[0])
    reader.close()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        reader.open(ShardId("0"))


def test_the_server_sees_only_local_scans_of_the_shards_asked_for(
    ignite: Cluster, loaded: Load
) -> None:
    database = loaded(ignite, "LOCAL_ONLY", blob_rows([20_000] * 400), partitions=7)
    node, shards = max(owned(database), key=lambda each: len(each[1]))
    reader = database.reader(node, ReadLimits(page_bytes=1 << 16, buffer_bytes=1 << 18))
    streams = [iter(reader.open(shard.id)) for shard in shards[:2]]
    for stream in streams:
        next(stream)
    open_scans = scans(node, "LOCAL_ONLY")
    assert open_scans
    assert {local for _, local in open_scans} == {True}
    assert {str(partition) for partition, _ in open_scans} <= {shard.id for shard in shards[:2]}
    reader.close()


def test_a_broken_connection_costs_no_row_and_repeats_none(ignite: Cluster, loaded: Load) -> None:
    database = loaded(ignite, "BROKEN", blob_rows([20_000] * 200), partitions=1)
    [(node, [shard])] = [(n, s) for n, s in owned(database) if s]
    reader = database.reader(node, ReadLimits(page_bytes=1 << 17, buffer_bytes=1 << 18))
    expected = ids(reader.open(shard.id))
    stream = iter(reader.open(shard.id))
    found = next(stream).column("id").to_pylist()
    break_connections(reader)
    for batch in stream:
        found += batch.column("id").to_pylist()
    assert found == expected
    reader.close()


def break_connections(reader: IgniteReader) -> None:
    for worker in reader._fetcher._workers:
        if worker.connection is not None:
            worker.connection.close()


def test_a_node_that_dies_is_said_to_be_gone(
    fresh_ignite: Callable[..., Cluster], loaded: Load
) -> None:
    cluster = fresh_ignite(nodes=2, partitions=[7])
    database = loaded(cluster, "DIES", blob_rows([20_000] * 300), partitions=7)
    node, shards = max(owned(database), key=lambda each: len(each[1]))
    reader = database.reader(node, ReadLimits(page_bytes=1 << 16, buffer_bytes=1 << 17))
    streams = [iter(reader.open(shard.id)) for shard in shards]
    next(streams[0])
    next(each for each in cluster.nodes if each.id == node.id).kill()
    with pytest.raises(DatabaseUnavailable, match="tried 3 times"):
        sum(len(list(stream)) for stream in streams)
    reader.close()


@pytest.mark.parametrize("page_bytes", [4 << 20, 20 << 20])
def test_two_readers_of_large_rows_leave_a_small_server_alive(
    fresh_ignite: Callable[..., Cluster], loaded: Load, page_bytes: int
) -> None:
    cluster = fresh_ignite(nodes=1, heap_mb=256, region_mb=512, partitions=[7])
    database = loaded(cluster, "LARGE", blob_rows([MB] * 150), partitions=7)
    [(node, shards)] = owned(database)
    counts: list[int] = []

    def read_interleaved() -> None:
        reader = database.reader(node, ReadLimits(page_bytes=page_bytes))
        streams = [iter(reader.open(shard.id)) for shard in shards]
        rows = 0
        while streams:
            for stream in list(streams):
                batch = next(stream, None)
                if batch is None:
                    streams.remove(stream)
                else:
                    rows += batch.num_rows
        counts.append(rows)
        reader.close()

    threads = [threading.Thread(target=read_interleaved) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [150, 150]
    assert cluster.nodes[0].running
