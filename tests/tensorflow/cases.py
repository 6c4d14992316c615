"""What the ranks of a test do, each in its own process."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import insitu.tensorflow
from insitu.contract import Assignment, to_environ, write_document
from insitu.errors import InsituError
from insitu.tensorflow.require import tensorflow
from insitu.topology import ShardId
from tests.memory import MemoryDatabase
from tests.ranks import a_job, assignments

Array = npt.NDArray[np.float64]
WIDTH = 6


@dataclass(frozen=True)
class Case:
    """Rows of each shard, and how to train on them: updates of `accumulate` batches each. `leaves`
    are ranks that break out of their loop, with the batch of that step in hand or `after` it.
    """

    sizes: tuple[int, ...]
    optimizer: str = "sgd"
    batch_size: int = 32
    epochs: int = 1
    norm: bool = False
    job: Assignment = field(default_factory=a_job)
    fails: str = ""
    accumulate: int = 1
    leaves: tuple[tuple[int, int], ...] = ()
    after: bool = False


@dataclass
class Trained:
    """What one rank saw: its ids and all parameters, before the first and after each step."""

    ids: list[list[int]] = field(default_factory=list)
    parameters: list[Array] = field(default_factory=list)
    drifted: list[float] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    steps: int = 0
    said: str = ""


def database(case: Case) -> MemoryDatabase:
    """A column `x` of WIDTH numbers a row, and `y`; made from the ids, the same everywhere."""
    numbers = np.random.default_rng(5)
    shards: dict[ShardId, pa.Table] = {}
    start = 0
    for number, rows in enumerate(case.sizes):
        x = numbers.standard_normal((rows, WIDTH))
        offsets = pa.array(range(0, rows * WIDTH + 1, WIDTH), pa.int32())
        shards[ShardId(str(number))] = pa.table(
            {
                "id": pa.array(range(start, start + rows), pa.int64()),
                "x": pa.ListArray.from_arrays(offsets, pa.array(x.reshape(-1)).cast(pa.float32())),
                "y": pa.array(np.sin(x.sum(axis=1))).cast(pa.float32()),
                "word": pa.array([f"w{i}" for i in range(rows)], pa.string()),
            }
        )
        start += rows
    return MemoryDatabase(shards)


def model(case: Case, seed: int = 3) -> Any:
    keras = importlib.import_module("keras")
    keras.utils.set_random_seed(seed)
    norm = [keras.layers.BatchNormalization()] if case.norm else []
    return keras.Sequential(
        [
            keras.layers.Input((WIDTH,)),
            keras.layers.Dense(16, activation="tanh"),
            *norm,
            keras.layers.Dense(1),
        ]
    )


def optimizer(case: Case) -> Any:
    keras = importlib.import_module("keras")
    if case.optimizer == "clipped":
        return keras.optimizers.SGD(0.5, global_clipnorm=0.1)
    if case.optimizer == "adamw":
        return keras.optimizers.AdamW(0.01, weight_decay=0.1)
    return keras.optimizers.SGD(0.1, momentum=0.9)


def environ(job: Assignment, folder: str) -> dict[str, str]:
    path = Path(folder) / f"assignment-{job.rank}.json"
    write_document(job, path)
    return to_environ(job, path)


def train(rank: int, world_size: int, port: int, case: Case) -> Trained:
    """The whole of a small training; rank 0's initial parameters are everybody's."""
    tf = tensorflow()
    shared = database(case)
    job = replace(assignments(shared, world_size, case.job)[rank], master=("127.0.0.1", port))
    seen = Trained()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            insitu.tensorflow.session(
                environ=environ(job, folder),
                open_database=lambda _source: shared,
                timeout_seconds=40,
            ) as session,
        ):
            _steps(tf, session, case, seen, rank)
    except SystemExit as error:
        seen.said = f"{error.code}: {error.__cause__}"
        if not isinstance(error.__cause__, InsituError):
            raise
    return seen


def _steps(tf: Any, session: Any, case: Case, seen: Trained, rank: int) -> None:
    if case.fails == "scope":
        network, moves = model(case), optimizer(case)
    else:
        with session.strategy.scope():
            network, moves = model(case, seed=3 + rank), optimizer(case)
    session.keep(model=network, optimizer=moves)
    seen.steps = session.steps

    def loss_of(columns: Any) -> Any:
        error = (network(columns["x"], training=True)[:, 0] - columns["y"]) ** 2
        if case.fails == "mean":
            return tf.reduce_mean(error)
        return error if case.fails == "scalar" else tf.reduce_sum(error)

    seen.parameters.append(flat(network))
    last = dict(case.leaves).get(rank)
    for number, batch in enumerate(session.batches(case.epochs, case.batch_size), 1):
        if batch.step == last and not case.after:
            break
        seen.ids.append(batch.arrow.column("id").to_pylist())
        seen.shapes.append(tuple(batch["x"].shape))
        if number % case.accumulate:
            session.accumulate(loss_of)
            continue
        session.step(loss_of)
        seen.parameters.append(flat(network))
        if batch.step == last and case.after:
            break
    seen.steps = session.steps if last else seen.steps
    seen.drifted = [float(v) for each in network.non_trainable_variables for v in each.numpy()]


def flat(network: Any) -> Array:
    parts = [v.numpy().reshape(-1).astype(np.float64) for v in network.trainable_variables]
    return np.concatenate(parts)


def alone(_rank: int, _world_size: int, _port: int, case: Case, steps: Sequence[Any]) -> Any:
    """One plain loop over the same rows, without insitu: what every set of ranks has to match."""
    tf = tensorflow()
    network, moves = model(case), optimizer(case)
    moves.build(network.trainable_variables)
    rows = pa.concat_tables(database(case).shards.values()).combine_chunks()
    x, y = np.stack(rows["x"].to_numpy()), rows["y"].to_numpy()
    found = [flat(network)]
    for ids in steps:
        with tf.GradientTape() as tape:
            errors = (network(x[ids], training=True)[:, 0] - y[ids]) ** 2
            loss = tf.reduce_sum(errors) / len(ids)
        variables = network.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        moves.apply_gradients(list(zip(gradients, variables, strict=True)))
        found.append(flat(network))
    return found
