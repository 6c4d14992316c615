"""Feeding TensorFlow: how `insitu.tensorflow` compares with tf.data's own ways, and with Ignite's
reader alone. `python -m benchmarks.tensorflow_feed` prints one JSON line a result.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.results import Result, compare
from insitu.contract.assignment import Assignment
from insitu.databases import DataSource, connect
from insitu.tensorflow.dataset import batched
from insitu.tensorflow.feed import Feed
from insitu.tensorflow.leaves import leaves
from insitu.tensorflow.pipeline import batches_of_rows
from insitu.tensorflow.reading import Reading
from insitu.tensorflow.require import tensorflow
from insitu.topology import Topology
from testbed import cassandra, ignite

_BATCH = 512
_FLOATS = 128
_BLOCK = 16_384


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: `rows` in memory and from Ignite, and fewer `cassandra_rows`, for there
    they take ten times as long. `generated` rows go through a Python call each.
    """

    rows: int
    cassandra_rows: int
    generated: int
    rounds: int


def full_plan() -> Plan:
    """Two to six minutes, by how busy the machine is: a third for Ignite, half for Cassandra."""
    return Plan(rows=400_000, cassandra_rows=100_000, generated=5_000, rounds=9)


def quick_plan() -> Plan:
    """Only to see that it runs; its numbers mean nothing."""
    return Plan(rows=4_096, cassandra_rows=4_096, generated=100, rounds=2)


def run(plan: Plan) -> Iterator[Result]:
    """In memory first, then from one real node of each database."""
    yield from in_memory(plan)
    with ignite.start(nodes=1, heap_mb=512, region_mb=1024, partitions=[64], fast=True) as found:
        source = found.source("FEED")
        yield from from_database(plan, source, {"template": "p64", "backups": "0"})
    with cassandra.start(nodes=1, heap_mb=1024, fast=True) as nodes:
        nodes.keyspace("bench")
        source = nodes.source("bench.feed")
        fewer = replace(plan, rows=plan.cassandra_rows)
        yield from from_database(fewer, source, {}, lambda: _settle(nodes))


def _settle(cluster: cassandra.Cluster) -> None:
    for task in ("flush", "compact"):
        cluster.nodetool(cluster.nodes[0], task, "bench")


def in_memory(plan: Plan) -> Iterator[Result]:
    """Blocks of rows that are there already, against tensors that are there already."""
    tf = tensorflow()
    table = _rows(plan.rows)
    x = table.column("x").flatten().to_numpy().reshape(-1, _FLOATS)
    y = table.column("y").to_numpy()
    reading = Reading()

    def blocks() -> Iterator[pa.RecordBatch]:
        for first in range(0, plan.rows, _BLOCK):
            yield table.slice(first, _BLOCK)

    def one_by_one() -> Iterator[dict[str, Any]]:
        for row in range(plan.generated):
            yield {"x": x[row], "y": y[row]}

    row = {"x": tf.TensorSpec((_FLOATS,), tf.float32), "y": tf.TensorSpec((), tf.int64)}
    found = leaves(table.schema, reading, table.slice(0, 100))
    ours = batched(batches_of_rows(blocks, found, reading), _BATCH)
    slices = tf.data.Dataset.from_tensor_slices({"x": x, "y": y}).batch(_BATCH)
    generator = tf.data.Dataset.from_generator(one_by_one, output_signature=row).batch(_BATCH)
    conditions = _conditions(plan, "blocks of 16,384 rows in memory")
    yield _compare(
        "tensorflow.feed.memory",
        plan,
        lambda: _rate(ours, plan.rows),
        "from_tensor_slices(...).batch(512)",
        lambda: _rate(slices, plan.rows),
        conditions,
    )
    yield _compare(
        "tensorflow.feed.memory",
        plan,
        lambda: _rate(ours, plan.rows),
        "from_generator, one row a call",
        lambda: _rate(generator, plan.generated),
        {**conditions, "generated_rows": plan.generated},
    )


def from_database(
    plan: Plan,
    source: DataSource,
    options: Mapping[str, str],
    loaded: Callable[[], None] = lambda: None,
) -> Iterator[Result]:
    """A whole epoch as tensors, in its order and as it lies in the database, against a bare loop
    over the same pages of the same reader, which drops each.
    """
    feed = Feed(_assignment(source, _load(plan, source, options, loaded)), connect)
    reading = Reading()
    found = leaves(feed.schema, reading, feed.sample)
    begin = feed.start(0, 7)
    epoch = batched(batches_of_rows(lambda: feed.blocks(begin, _BATCH), found, reading), _BATCH)
    plain = batched(batches_of_rows(feed.scan, found, reading), _BATCH)
    conditions = _conditions(plan, f"one node of {source.kind} on loopback")
    for name, ours in (("shuffled", epoch), ("scan", plain)):
        yield _compare(
            f"tensorflow.feed.{source.kind}.{name}",
            plan,
            lambda ours=ours: _rate(ours, plan.rows),  # type: ignore[misc]
            "the reader alone",
            lambda: _read(feed, plan.rows),
            conditions,
        )


def _load(
    plan: Plan, source: DataSource, options: Mapping[str, str], loaded: Callable[[], None]
) -> Topology:
    table = _rows(plan.rows)
    with contextlib.closing(connect(source)) as database:
        writing = database.writer(table.schema, key=["y"], options=options)
        with contextlib.closing(writing) as writer:
            for first in range(0, plan.rows, _BLOCK):
                writer.write(table.slice(first, _BLOCK))
        loaded()
        return database.topology()


def _assignment(source: DataSource, topology: Topology) -> Assignment:
    return Assignment(
        job="feed",
        generation=1,
        rank=0,
        world_size=1,
        source=source,
        node=topology.nodes[0],
        shards=topology.shards,
        nodes=topology.nodes,
    )


def _rows(rows: int) -> pa.RecordBatch:
    random = np.random.default_rng(7)
    values = random.standard_normal(rows * _FLOATS, dtype=np.float32)
    x = pa.FixedSizeListArray.from_arrays(values, _FLOATS).cast(pa.list_(pa.float32()))
    return pa.record_batch({"x": x, "y": np.arange(rows, dtype=np.int64)})


def _rate(dataset: Any, rows: int) -> float:
    begin = time.perf_counter()
    seen = sum(int(batch["x"].shape[0]) for batch in dataset)
    seconds = time.perf_counter() - begin
    _check(seen, rows)
    return rows / seconds / 1e3


def _read(feed: Feed, rows: int) -> float:
    begin = time.perf_counter()
    seen = sum(page.num_rows for page in feed.pages())
    seconds = time.perf_counter() - begin
    _check(seen, rows)
    return rows / seconds / 1e3


def _check(seen: int, rows: int) -> None:
    if seen != rows:
        raise AssertionError(f"{seen} rows came out of {rows}")


def _compare(
    name: str,
    plan: Plan,
    ours: Callable[[], float],
    against: str,
    theirs: Callable[[], float],
    conditions: dict[str, Any],
) -> Result:
    """Both take turns at being first, after one round that nobody counts."""
    mine: list[float] = []
    other: list[float] = []
    for number in range(plan.rounds + 1):
        pair = [(mine, ours), (other, theirs)]
        for rates, way in pair if number % 2 else reversed(pair):
            rates.append(way())
    return compare(name, "thousand rows/s", mine[1:], against, other[1:], conditions)


def _conditions(plan: Plan, where: str) -> dict[str, Any]:
    return {
        "where": where,
        "rows": plan.rows,
        "batch": _BATCH,
        "floats_a_row": _FLOATS,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("tensorflow_cpu", "pyarrow", "numpy")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    arguments = parser.parse_args()
    for result in run(quick_plan() if arguments.quick else full_plan()):
        print(result.line(), flush=True)


if __name__ == "__main__":
    main()
