"""Blocks of Arrow rows as a `tf.data.Dataset`: one call into Python for many batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from insitu.errors import InsituError
from insitu.tensorflow.flat import arrays, runs
from insitu.tensorflow.reading import Leaf, Path, Reading
from insitu.tensorflow.require import tensorflow

Nest = Callable[[Path], Path]


def element_spec(leaves: Sequence[Leaf]) -> Any:
    """The type of an element of a batch of rows: nested dictionaries of specs."""
    tf = tensorflow()
    return nest((leaf.path for leaf in leaves), [_spec(tf, leaf) for leaf in leaves])


def batches_of_rows(
    blocks: Callable[[], Iterator[pa.RecordBatch]],
    leaves: Sequence[Leaf],
    reading: Reading,
    failed: Callable[[InsituError], None] = lambda _error: None,
) -> Any:
    """A dataset of one element a block: nested dictionaries of tensors of (rows, ...).

    `failed` hears of an error of Insitu's as it is; TensorFlow passes on its text alone.
    """
    tf = tensorflow()

    def flat() -> Iterator[tuple[Any, ...]]:
        try:
            for block in blocks():
                for rows in runs(block, leaves, reading):
                    yield tuple(arrays(rows, leaves, reading))
        except InsituError as error:
            failed(error)
            raise

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def nested(*flat: Any) -> Any:
        return nest((leaf.path for leaf in leaves), tensors(flat, leaves))

    flat_spec = tuple(spec for leaf in leaves for spec in _flat_specs(tf, leaf))
    return tf.data.Dataset.from_generator(flat, output_signature=flat_spec).map(nested)


def single_rows(blocks: Any, leaves: Sequence[Leaf]) -> Any:
    """One element a row of `batches_of_rows`. A list of a row is a tensor of (n,), whatever the
    lengths in a block were; lists of lists stay ragged.

    Not by `unbatch`: TensorFlow's ends the process at a numeric tensor of (rows, 0), which is what
    rows without elements make.
    """
    tf = tensorflow()
    rows = blocks.flat_map(tf.data.Dataset.from_tensor_slices)
    if any(leaf.lists == 1 and leaf.shape is None for leaf in leaves):
        # A row of a ragged tensor of one level is a tensor already, but only a function sees it so.
        rows = rows.map(tf.autograph.experimental.do_not_convert(lambda row: row))
    return rows


def with_options(dataset: Any) -> Any:
    """`dataset` in its own order, left whole by `tf.distribute`: it is a rank's share already.

    Without autotuning: the end of a pass waits for its thread, which wakes up after 10 ms, 20 ms,
    40 ms and so on, so a pass could take up to twice as long. Later options may turn it on again.
    """
    tf = tensorflow()
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)


def nest(paths: Iterable[Path], values: Iterable[Any]) -> dict[str, Any]:
    """Values by their paths, in alphabetical order as TensorFlow itself takes dictionaries.

    >>> nest([("id",), ("at", "x"), ("at", "y")], [1, 2, 3])
    {'at': {'x': 2, 'y': 3}, 'id': 1}
    """
    whole: dict[str, Any] = {}
    for path, value in sorted(zip(paths, values, strict=True), key=lambda pair: pair[0]):
        place = whole
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return whole


def tensors(flat: Sequence[Any], leaves: Sequence[Leaf]) -> list[Any]:
    """The tensors that `arrays` took apart."""
    tf = tensorflow()
    rest = iter(flat)
    found = []
    for leaf in leaves:
        values, *splits = (next(rest) for _ in range(leaf.arrays))
        tensor = tf.convert_to_tensor(values, leaf.dtype)
        for ends in reversed(splits):  # They were counted, not given by anybody.
            tensor = tf.RaggedTensor.from_row_splits(tensor, ends, validate=False)
        found.append(tensor)
    return found


def _flat_specs(tf: Any, leaf: Leaf) -> list[Any]:
    dtype = tf.as_dtype(leaf.dtype)
    if leaf.shape is not None:
        return [tf.TensorSpec((None, *leaf.shape), dtype)]
    splits = [tf.TensorSpec((None,), tf.int64) for _ in range(leaf.lists)]
    return [tf.TensorSpec((None,), dtype), *splits]


def _spec(tf: Any, leaf: Leaf) -> Any:
    dtype = tf.as_dtype(leaf.dtype)
    if leaf.shape is not None:
        return tf.TensorSpec((None, *leaf.shape), dtype)
    return tf.RaggedTensorSpec((None,) * (leaf.lists + 1), dtype, leaf.lists, tf.int64)
