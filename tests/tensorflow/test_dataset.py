"""`insitu.tensorflow.dataset` on a table in memory."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from insitu.contract import to_environ, write_document
from insitu.contract.assignment import Training
from insitu.errors import ConfigurationError, UnsupportedType
from insitu.tensorflow import dataset
from insitu.tensorflow.require import tensorflow
from insitu.topology import ShardId
from tests.memory import MemoryDatabase
from tests.ranks import a_job, assignments

tf = tensorflow()


def a_table(*rows: int) -> MemoryDatabase:
    """Columns of every kind, `id` counting up over the shards."""
    start, shards = 0, {}
    for number, count in enumerate(rows):
        ids = range(start, start + count)
        shards[ShardId(str(number))] = pa.table(
            {
                "id": pa.array(ids, pa.int64()),
                "x": pa.array([[float(i), -i] for i in ids], pa.list_(pa.float32())),
                "tags": pa.array([["t"] * (i % 3) for i in ids], pa.list_(pa.string())),
                "at": pa.array(
                    [{"city": f"c{i}", "zip": i} for i in ids],
                    pa.struct([("city", pa.string()), ("zip", pa.int32())]),
                ),
            }
        )
        start += count
    return MemoryDatabase(shards)


class Rank:
    """What `dataset` is called with on one rank of a job over `database`."""

    def __init__(self, folder: Path, database: MemoryDatabase, rank: int = 0, ranks: int = 1):
        job = a_job(training=Training(epochs=1, global_batch_size=16, seed=3))
        plan = assignments(database, ranks, job)[rank]
        write_document(plan, folder / f"{rank}.json")
        self.environ: Mapping[str, str] = to_environ(plan, folder / f"{rank}.json")
        self.database = database

    def dataset(self, *arguments: Any, **options: Any) -> Any:
        return dataset(
            *arguments,
            environ=self.environ,
            open_database=lambda _source: self.database,
            **options,
        )


def ids(batches: Any) -> list[int]:
    return list(chain.from_iterable(batch["id"].numpy().tolist() for batch in batches))


def test_elements_are_as_their_spec_says_and_right_in_every_row(tmp_path: Path) -> None:
    batches = Rank(tmp_path, a_table(30, 10)).dataset(16)
    assert batches.element_spec == {
        "id": tf.TensorSpec((None,), tf.int64),
        "x": tf.TensorSpec((None, 2), tf.float32),
        "tags": tf.RaggedTensorSpec((None, None), tf.string, 1, tf.int64),
        "at": {
            "city": tf.TensorSpec((None,), tf.string),
            "zip": tf.TensorSpec((None,), tf.int32),
        },
    }
    for batch in batches:
        numbers = batch["id"].numpy().tolist()
        assert batch["x"].numpy().tolist() == [[i, -i] for i in numbers]
        assert batch["tags"].to_list() == [[b"t"] * (i % 3) for i in numbers]
        assert batch["at"]["city"].numpy().tolist() == [f"c{i}".encode() for i in numbers]
        assert batch["at"]["zip"].numpy().tolist() == numbers


def test_an_epoch_is_finite_complete_and_the_same_every_time(tmp_path: Path) -> None:
    rank = Rank(tmp_path, a_table(30, 10, 0, 5))
    batches = rank.dataset(16)
    sizes = [int(batch["id"].shape[0]) for batch in batches]
    assert sizes == [16, 16, 13]
    first = ids(batches)
    assert sorted(first) == list(range(45))
    assert ids(batches) == first
    assert ids(rank.dataset(16)) == first
    assert ids(rank.dataset(16, epoch=1)) != first
    assert ids(rank.dataset(16).skip(2)) == first[32:]


def test_ranks_share_the_rows_and_the_jobs_batch(tmp_path: Path) -> None:
    database = a_table(30, 10, 7)
    ranks = [Rank(tmp_path, database, rank, 2).dataset() for rank in range(2)]
    assert sorted(ids(ranks[0]) + ids(ranks[1])) == list(range(47))
    assert {int(batch["id"].shape[0]) for batch in ranks[0].take(2)} == {8}


def test_map_batch_and_prefetch_work_on_it(tmp_path: Path) -> None:
    batches = Rank(tmp_path, a_table(30)).dataset(16)
    mapped = batches.map(lambda row: (row["x"] * 2, tf.strings.length(row["at"]["city"])))
    doubled, lengths = next(iter(mapped.rebatch(5).prefetch(1)))
    assert (doubled.shape, lengths.shape) == ((5, 2), (5,))
    rows = batches.unbatch().batch(7)
    assert [int(batch["id"].shape[0]) for batch in rows] == [7, 7, 7, 7, 2]
    assert sorted(ids(rows)) == list(range(30))


def test_a_tf_function_can_loop_over_it(tmp_path: Path) -> None:
    batches = Rank(tmp_path, a_table(30, 10)).dataset(16)

    def total() -> Any:
        found = tf.constant(0, tf.int64)
        for batch in batches:
            found += tf.reduce_sum(batch["id"])
        return found

    assert tf.function(total)().numpy() == sum(range(40))


def test_distribute_keeps_all_rows_of_the_worker(tmp_path: Path) -> None:
    batches = Rank(tmp_path, a_table(30, 10)).dataset(16, columns=None)
    dense = batches.map(lambda row: {"id": row["id"], "x": row["x"]})
    for strategy in (tf.distribute.MirroredStrategy(["CPU:0"]), tf.distribute.get_strategy()):
        found: list[int] = []
        for batch in strategy.experimental_distribute_dataset(dense):
            for part in strategy.experimental_local_results(batch["id"]):
                found += part.numpy().tolist()
        assert sorted(found) == list(range(40))


def test_columns_casts_shapes_and_nulls_can_be_chosen(tmp_path: Path) -> None:
    database = MemoryDatabase(
        {ShardId("0"): pa.table({"a": [1, None], "b": [b"xy", b"zw"], "c": [[1], [2]]})}
    )
    rank = Rank(tmp_path, database)
    [batch] = rank.dataset(
        2, shapes={"b": (2,), "c": None}, cast={"a": pa.float32()}, nulls={"a": -1.0}
    )
    assert sorted(batch["a"].numpy().tolist()) == [-1.0, 1.0]
    assert sorted(batch["b"].numpy().tolist()) == [[120, 121], [122, 119]]
    assert isinstance(batch["c"], tf.RaggedTensor)


def test_an_empty_share_gives_no_batch(tmp_path: Path) -> None:
    batches = Rank(tmp_path, a_table(0, 0)).dataset(16)
    assert list(batches) == []
    assert batches.element_spec["x"] == tf.RaggedTensorSpec((None, None), tf.float32, 1, tf.int64)


def test_what_cannot_be_held_is_refused_at_once(tmp_path: Path) -> None:
    column = pa.array([Decimal(1)], pa.decimal128(20, 2))
    rank = Rank(tmp_path, MemoryDatabase({ShardId("0"): pa.table({"price": column})}))
    with pytest.raises(UnsupportedType, match=r"price: decimal128.*cast=\{'price'"):
        rank.dataset(2)
    with pytest.raises(ConfigurationError, match="batch_size=0: give dataset"):
        rank.dataset(0)


def test_without_a_batch_size_anywhere_the_user_is_asked(tmp_path: Path) -> None:
    rank = Rank(tmp_path, a_table(3))
    write_document(assignments(rank.database, 1)[0], tmp_path / "0.json")
    with pytest.raises(ConfigurationError, match="nobody said batch_size"):
        rank.dataset()


def test_an_error_of_the_reader_ends_the_pass_with_its_message(tmp_path: Path) -> None:
    batches = Rank(tmp_path, MemoryDatabase({ShardId("0"): pa.table({"a": [1, 2, None]})}))
    with pytest.raises(tf.errors.UnknownError, match="UnsupportedType: a: 1 of 3 values are null"):
        list(batches.dataset(2))


def test_a_schema_that_changes_in_mid_epoch_ends_the_pass(tmp_path: Path) -> None:
    database = a_table(300)
    batches = iter(Rank(tmp_path, database).dataset(16))
    database.shards = {ShardId("0"): database.shards[ShardId("0")].drop_columns(["x"])}
    with pytest.raises(tf.errors.OpError, match="ProtocolError: shard 0"):
        list(batches)


@pytest.mark.parametrize("wrong", [{"batch_size": 1.5}, {"batch_size": "8"}, {"epoch": "1"}])
def test_what_is_not_a_whole_number_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="is not a whole number"):
        Rank(tmp_path, a_table(3)).dataset(**wrong)
