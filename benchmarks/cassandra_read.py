"""Reading from Cassandra: how close to bare bodies the reader comes, how far from drivers."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import cassandra_decode
from benchmarks import cassandra_ways as ways
from benchmarks.machine import cpu
from benchmarks.results import Result, compare
from insitu.databases import Database, connect
from insitu.databases.cassandra.reading.statement import Select
from testbed.cassandra import Cluster, start

_KEYSPACE = "bench"
_MOST_PAGE_ROWS = 20_000
_LOAD_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Case:
    """One table: `rows` rows, of which `batch` makes some, from the first number on.

    A run reads the table `passes` times, so that beginnings count for little. With `pack` the same
    rows are measured with so many in one, too.
    """

    name: str
    rows: int
    batch: Callable[[np.random.Generator, int, int], pa.RecordBatch]
    page_bytes: int = 4 << 20
    passes: int = 1
    pack: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. Of `rounds`, the slow drivers take part in the first `few` only."""

    cases: tuple[Case, ...]
    rounds: int
    few: int
    heap_mb: int
    connections: tuple[int, ...]


def _small(random: np.random.Generator, first: int, rows: int) -> pa.RecordBatch:
    floats = {f"f{n}": random.standard_normal(rows, dtype=np.float32) for n in range(16)}
    label = random.integers(0, 10, rows, dtype=np.int32)
    return pa.record_batch({"id": np.arange(first, first + rows), **floats, "label": label})


def _vectors(random: np.random.Generator, first: int, rows: int) -> pa.RecordBatch:
    values = random.standard_normal(rows * 256, dtype=np.float32)
    return pa.record_batch(
        {
            "id": np.arange(first, first + rows),
            "v": pa.FixedSizeListArray.from_arrays(values, 256),
            "label": random.integers(0, 10, rows, dtype=np.int32),
        }
    )


def _blobs(random: np.random.Generator, first: int, rows: int) -> pa.RecordBatch:
    data = random.integers(0, 256, 256 << 10, dtype=np.uint8).tobytes()
    return pa.record_batch({"id": np.arange(first, first + rows), "data": [data] * rows})


def full_plan() -> Plan:
    """Three shapes of rows; the server needs minutes to take them in."""
    return Plan(
        (
            Case("small-rows", 200_000, _small, passes=2, pack=256),
            Case("vectors-256", 60_000, _vectors, passes=5, pack=64),
            Case("bytes-256KB", 1_200, _blobs, passes=5),
        ),
        rounds=7,
        few=3,
        heap_mb=1024,
        connections=(1, 2),
    )


def quick_plan() -> Plan:
    """The same shape in a few seconds; its numbers mean nothing."""
    return Plan(
        (
            Case("small-rows", 1_000, _small, 1 << 17, pack=16),
            Case("vectors-256", 500, _vectors, 1 << 17),
            Case("bytes-256KB", 8, _blobs, 1 << 20),
        ),
        rounds=2,
        few=1,
        heap_mb=256,
        connections=(1,),
    )


def run(plan: Plan) -> Iterator[Result]:
    """Loads each table into one real node, and measures it before the next one is loaded."""
    with start(nodes=1, heap_mb=plan.heap_mb, fast=True) as cluster:
        cluster.keyspace(_KEYSPACE)
        for case in plan.cases:
            yield from _run_case(cluster, plan, case)


def _run_case(cluster: Cluster, plan: Plan, case: Case) -> Iterator[Result]:
    name = case.name.replace("-", "_").lower()
    with contextlib.closing(connect(cluster.source(f"{_KEYSPACE}.{name}"))) as database:
        _load(database, case)
        for task in ("flush", "compact"):
            cluster.nodetool(cluster.nodes[0], task, _KEYSPACE)
        table, row_bytes = _table(database, case, name)
        conditions = _conditions(cluster, plan, case, table, row_bytes)
        for connections in plan.connections:
            measured = _Measured(plan, case, table, connections, row_bytes)
            yield from measured.results({**conditions, "connections": connections})
    ours, theirs = cassandra_decode.rates(table, plan.rounds)
    name = f"cassandra.decode.{case.name}"
    yield compare(name, "million rows/s", ours, "cassandra-driver", theirs, conditions)
    if case.pack is not None:
        yield _packed(cluster, plan, case, case.pack, table, conditions)
    cluster.cql(f"DROP TABLE {table.select.keyspace}.{table.select.table}")


def _packed(
    cluster: Cluster,
    plan: Plan,
    case: Case,
    pack: int,
    table: ways.Table,
    conditions: dict[str, Any],
) -> Result:
    """The same rows with many in one, read as single ones again."""
    name, connections = f"{_KEYSPACE}.packed", plan.connections[0]
    with contextlib.closing(connect(cluster.source(name))) as database:
        _load(database, case, pack)
        for task in ("flush", "compact"):
            cluster.nodetool(cluster.nodes[0], task, _KEYSPACE)
        packed = replace(table, database=database)
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(plan.rounds):
            turns = [(ours, packed), (theirs, table)]
            for found, one in turns if number % 2 else reversed(turns):
                run = ways.insitu(one, connections)
                if run.rows != case.rows * case.passes:
                    raise AssertionError(f"read {run.rows} of {case.rows * case.passes} rows")
                found.append(run.rows / run.seconds / 1e3)
    cluster.cql(f"DROP TABLE {name}")
    return compare(
        f"cassandra.packed.{case.name}",
        "thousand rows/s",
        ours,
        "one sample a row",
        theirs,
        {**conditions, "connections": connections, "pack": pack},
    )


def _load(database: Database, case: Case, pack: int | None = None) -> None:
    random = np.random.default_rng(7)
    one = case.batch(random, 0, 1)
    at_once = max(1, _LOAD_BYTES // one.nbytes)
    options = {}
    if pack is not None:
        at_once, options = max(1, at_once // pack) * pack, {"pack": str(pack)}
    with contextlib.closing(database.writer(one.schema, key=["id"], options=options)) as writer:
        for first in range(0, case.rows, at_once):
            writer.write(case.batch(random, first, min(at_once, case.rows - first)))


def _table(database: Database, case: Case, name: str) -> tuple[ways.Table, float]:
    """The table, and how many bytes one of its rows has on the wire."""
    topology = database.topology()
    shards = tuple(shard.id for shard in topology.shards)
    node = topology.nodes[0]
    # One read tells how large rows are on the wire, and warms the server up.
    with contextlib.closing(database.reader(node)) as reader:
        rows = sum(batch.num_rows for shard in shards for batch in reader.open(shard))
        row_bytes = reader.counters.bytes / rows
        columns = tuple(reader.schema.names)
    page_rows = max(1, min(_MOST_PAGE_ROWS, int(case.page_bytes / row_bytes)))
    select = Select(_KEYSPACE, name, columns, ("id",))
    again = shards * case.passes
    return ways.Table(database, node, select, again, page_rows, case.page_bytes), row_bytes


class _Measured:
    """Rounds in which the ways take turns at being first."""

    def __init__(
        self, plan: Plan, case: Case, table: ways.Table, connections: int, row_bytes: float
    ) -> None:
        self._case = case
        self._rows = case.rows * case.passes
        self._gigabytes = self._rows * row_bytes / 1e9
        all_ways = {
            "insitu": ways.insitu,
            "bare bodies": ways.bare_bodies,
            "cassandra-driver": ways.default_driver,
            "acsylla": ways.compiled_driver,
        }
        self._runs: dict[str, list[ways.Run]] = {name: [] for name in all_ways}
        for number in range(plan.rounds):
            names = list(all_ways)[: 4 if number < plan.few else 2]
            for name in names if number % 2 else reversed(names):
                found = all_ways[name](table, connections)
                if found.rows != self._rows:
                    raise AssertionError(f"{name} read {found.rows} of {self._rows} rows")
                self._runs[name].append(found)

    def results(self, conditions: dict[str, Any]) -> Iterator[Result]:
        """Insitu's reader against each of the others."""
        for other in list(self._runs)[1:]:
            count = len(self._runs[other])
            costs = {
                "cpu_seconds_per_GB": self._cost("insitu"),
                "against_cpu_seconds_per_GB": self._cost(other),
            }
            yield compare(
                f"cassandra.read.{self._case.name}",
                "MB/s",
                self._rates("insitu")[:count],
                other,
                self._rates(other),
                {**conditions, **costs},
            )

    def _rates(self, name: str) -> list[float]:
        return [1000 * self._gigabytes / run.seconds for run in self._runs[name]]

    def _cost(self, name: str) -> float:
        runs = self._runs[name]
        return round(float(np.median([run.cpu_seconds for run in runs])) / self._gigabytes, 3)


def _conditions(
    cluster: Cluster, plan: Plan, case: Case, table: ways.Table, row_bytes: float
) -> dict[str, Any]:
    return {
        "rows": case.rows,
        "passes": case.passes,
        "row_bytes": round(row_bytes, 1),
        "shards": len(table.shards) // case.passes,
        "page_bytes": case.page_bytes,
        "page_rows": table.page_rows,
        "server_heap_mb": plan.heap_mb,
        "server": "one node on loopback, sharing the machine with its clients",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "mimalloc_purge_delay": os.environ["MIMALLOC_PURGE_DELAY"],
        "cassandra": cluster.cql("SELECT release_version FROM system.local")[0][0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("pyarrow", "numpy", "cassandra-driver", "acsylla")},
    }
