"""Reading from Ignite: how close to a bare socket the reader comes, how far from pyignite."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from benchmarks import ways
from benchmarks.machine import cpu
from benchmarks.results import Result, compare
from insitu.databases import connect
from insitu.databases.ignite import IgniteDatabase
from testbed.ignite import Cluster, start

_PARTITIONS = 64
_GB = 10**9
#: What the server's heap, other programs and this one need besides the table.
_SPARE_BYTES = 8 * _GB
_LOAD_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Case:
    """One table: `rows` rows of `payload` bytes each, read in pages of `page_bytes`."""

    name: str
    rows: int
    payload: int
    page_bytes: int
    batch: Callable[[np.random.Generator, int, int, int], pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. `pyignite_shards` are few: it reads floats at some MB/s."""

    cases: tuple[Case, ...]
    rounds: int
    heap_mb: int
    connections: tuple[int, ...]
    pyignite_shards: int


def _blobs(random: np.random.Generator, first: int, rows: int, payload: int) -> pa.RecordBatch:
    data = random.integers(0, 256, payload, dtype=np.uint8).tobytes()
    return pa.record_batch({"id": np.arange(first, first + rows), "data": [data] * rows})


def _floats(random: np.random.Generator, first: int, rows: int, payload: int) -> pa.RecordBatch:
    size = payload // 4
    values = random.standard_normal(rows * size, dtype=np.float32)
    features = pa.FixedSizeListArray.from_arrays(values, size).cast(pa.list_(pa.float32()))
    labels = random.integers(0, 10, rows, dtype=np.int32)
    return pa.record_batch(
        {"id": np.arange(first, first + rows), "features": features, "label": labels}
    )


def full_plan() -> Plan:
    """The published case of IgniteDataset first: 10,000 rows of 1 MB, or what memory allows."""
    fitting = (psutil.virtual_memory().available - _SPARE_BYTES) // 1_200_000
    rows = int(max(500, min(10_000, fitting)))
    return Plan(
        (
            Case("bytes-1MB", rows, 1_000_000, 20 << 20, _blobs),
            Case("bytes-128KB", 8 * 1024, 128 << 10, 4 << 20, _blobs),
            Case("floats-128", 500_000, 512, 4 << 20, _floats),
        ),
        rounds=7,
        heap_mb=4096,
        connections=(1, 2),
        pyignite_shards=4,
    )


def quick_plan() -> Plan:
    """The same shape in a few seconds; its numbers mean nothing."""
    return Plan(
        (
            Case("bytes-128KB", 64, 128 << 10, 1 << 20, _blobs),
            Case("floats-128", 2_000, 512, 1 << 20, _floats),
        ),
        rounds=2,
        heap_mb=512,
        connections=(1,),
        pyignite_shards=1,
    )


def run(plan: Plan) -> Iterator[Result]:
    """Loads each table into one real node, and measures it before the next one is loaded."""
    most = max(case.rows * case.payload for case in plan.cases)
    region_mb = 256 + int(1.35 * most) // 1_000_000
    with start(
        nodes=1,
        heap_mb=plan.heap_mb,
        region_mb=region_mb,
        partitions=[_PARTITIONS],
        fast=True,
    ) as cluster:
        for case in plan.cases:
            yield from _run_case(cluster, plan, case)


def _run_case(cluster: Cluster, plan: Plan, case: Case) -> Iterator[Result]:
    name = case.name.replace("-", "_").upper()
    with contextlib.closing(connect(cluster.source(name))) as database:
        assert isinstance(database, IgniteDatabase)
        _load(database, case)
        table = _table(database, case, name)
        conditions = _conditions(cluster, plan, case, table)
        for connections in plan.connections:
            yield from _measure(plan, case, table, connections, conditions)
    cluster.sql(f"DROP TABLE {name}")


def _load(database: IgniteDatabase, case: Case) -> None:
    random = np.random.default_rng(7)
    at_once = max(1, _LOAD_BYTES // case.payload)
    schema = case.batch(random, 0, 1, case.payload).schema
    options = {"template": f"p{_PARTITIONS}", "backups": "0"}
    with contextlib.closing(database.writer(schema, key=["id"], options=options)) as writer:
        for first in range(0, case.rows, at_once):
            rows = min(at_once, case.rows - first)
            writer.write(case.batch(random, first, rows, case.payload))


def _table(database: IgniteDatabase, case: Case, name: str) -> ways.Table:
    topology = database.topology()
    shards = tuple(shard.id for shard in topology.shards)
    node = topology.nodes[0]
    # One read tells how many bytes a row has on the wire, and warms the server up.
    reader = database.reader(node)
    rows = sum(batch.num_rows for shard in shards for batch in reader.open(shard))
    row_bytes = round(reader.counters.bytes / rows)
    reader.close()
    return ways.Table(database, node, name, shards, case.rows, row_bytes, case.page_bytes)


def _measure(
    plan: Plan, case: Case, table: ways.Table, connections: int, conditions: dict[str, Any]
) -> Iterator[Result]:
    ours: list[float] = []
    bare: list[float] = []
    scan: list[float] = []
    for number in range(plan.rounds):
        pair = [(ours, ways.insitu), (bare, ways.bare_socket)]
        # Whoever goes second finds the server's caches warmer: they take turns at that too.
        for rates, way in pair if number % 2 else reversed(pair):
            rates.append(way(table, connections))
        if connections == 1:
            scan.append(ways.pyignite_scan(table, plan.pyignite_shards))
    conditions = {**conditions, "connections": connections}
    name = f"ignite.read.{case.name}"
    yield compare(name, "MB/s", ours, "bare socket", bare, conditions)
    if scan:
        yield compare(name, "MB/s", ours, "pyignite scan", scan, conditions)


def _conditions(cluster: Cluster, plan: Plan, case: Case, table: ways.Table) -> dict[str, Any]:
    return {
        "rows": case.rows,
        "row_bytes": table.row_bytes,
        "partitions": _PARTITIONS,
        "page_bytes": case.page_bytes,
        "page_rows": table.page_rows,
        "server_heap_mb": plan.heap_mb,
        "server": "one node on loopback, sharing the machine with its clients",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "mimalloc_purge_delay": os.environ["MIMALLOC_PURGE_DELAY"],
        "ignite": cluster.sql("SELECT VERSION FROM SYS.NODES")[0][0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("pyarrow", "numpy", "pyignite")},
    }
