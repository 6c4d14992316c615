"""A `tf.data.Dataset` over this rank's shards."""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from insitu.contract import from_environ
from insitu.databases import Database, DataSource, connect
from insitu.errors import ConfigurationError
from insitu.tensorflow.feed import Feed
from insitu.tensorflow.leaves import leaves
from insitu.tensorflow.pipeline import batches_of_rows, with_options
from insitu.tensorflow.reading import Nulls, Reading, Shape
from insitu.tensorflow.require import tensorflow


def dataset(
    batch_size: int | None = None,
    *,
    epoch: int = 0,
    seed: int | None = None,
    columns: Sequence[str] | None = None,
    shapes: Mapping[str, Shape | None] | None = None,
    cast: Mapping[str, pa.DataType] | None = None,
    nulls: Nulls = "refuse",
    environ: Mapping[str, str] | None = None,
    open_database: Callable[[DataSource], Database] = connect,
) -> Any:
    """One epoch of this rank's rows, as batches of a `tf.data.Dataset`.

    An element is a dictionary of tensors of (rows, ...), by column; insitu/tensorflow/reading.py
    says which. The order follows from seed, epoch and shards alone, so two passes over the same
    table are the same, and `dataset(...).skip(n)` goes on after n batches. `tf.distribute` leaves
    it whole: each worker has its own shards already.

    Args:
        batch_size: Rows of a batch; the job's `globalBatchSize` over its ranks by default. The
            last one may be smaller.
        epoch: Which pass over the data, for its order.
        seed: For the order; the job's by default.
        columns: Which ones to read; all by default.
        shapes: Of lists, and of bytes to be taken as uint8, by name; see `Reading`.
        cast: Arrow types to turn columns into first, by name.
        nulls: What to take for nulls; see `Reading`.
        environ: The contract's variables; the process's own by default.
        open_database: Connects to a data source.

    Returns:
        A `tf.data.Dataset`. What goes wrong while it is read ends it with a TensorFlow error that
        holds the message of Insitu's.

    Raises:
        ConfigurationError: TensorFlow is missing or too old, or an argument can't work.
        UnsupportedType: a column has no tensor; says which, and what to cast it to.
    """
    tensorflow()
    for name, value in {"batch_size": batch_size, "epoch": epoch, "seed": seed}.items():
        if value is not None and not isinstance(value, numbers.Integral):
            raise ConfigurationError(f"{name}={value!r} is not a whole number")
    reading = Reading(shapes or {}, cast or {}, nulls)
    assignment = from_environ(os.environ if environ is None else environ, open_database)
    if columns is not None:
        source = replace(assignment.source, columns=tuple(columns))
        assignment = replace(assignment, source=source)
    training = assignment.training
    if batch_size is None and training.global_batch_size is not None:
        batch_size = max(1, training.global_batch_size // assignment.world_size)
    if batch_size is None or batch_size < 1:
        said = "nobody said batch_size" if batch_size is None else f"batch_size={batch_size}"
        raise ConfigurationError(
            f"{said}: give dataset(batch_size=...) 1 or more, or spec.training.globalBatchSize"
        )
    feed = Feed(assignment, open_database)
    start = feed.start(epoch, training.seed if seed is None else seed)
    rows = batch_size
    return batched(
        batches_of_rows(
            lambda: feed.blocks(start, rows),
            leaves(feed.schema, reading, feed.sample),
            reading,
        ),
        rows,
    )


def batched(blocks: Any, rows: int) -> Any:
    """Blocks of whole batches cut into batches of `rows` rows. The next block is read and the next
    batches are cut while one is used.
    """
    return with_options(blocks.prefetch(1).rebatch(rows).prefetch(2))
