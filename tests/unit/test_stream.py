from __future__ import annotations

from itertools import chain

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.data import Cursor, Order, RankStream, Remaining, Taken
from insitu.errors import ProtocolError
from insitu.topology import ShardId
from tests.unit.builders import (
    IDS,
    MemoryReader,
    drain,
    ids,
    rank_stream,
    resumed,
    shards,
    shards_of,
)

SIZES = st.lists(st.integers(0, 40), max_size=12)
ORDERS = st.builds(Order, st.integers(0, 5), st.integers(1, 16))


@given(SIZES, ORDERS, st.integers(1, 50), st.integers(1, 9), st.integers(1, 5))
def test_every_row_is_taken_once(
    sizes: list[int], order: Order, batch: int, page_rows: int, window: int
) -> None:
    table = shards_of(*sizes)
    stream = rank_stream(table, Cursor(order=order), page_rows=page_rows, window=window)
    batches, used = drain(stream, batch)
    assert sorted(chain(*batches)) == list(range(sum(sizes)))
    after = Cursor(order=order).after(used)
    assert after.finished == set(table)
    assert after.taken == {shard: len(rows) for shard, rows in table.items()}


@given(SIZES, st.integers(1, 50))
def test_every_batch_but_the_last_is_full(sizes: list[int], batch: int) -> None:
    batches, _ = drain(rank_stream(shards_of(*sizes)), batch)
    assert all(len(rows) == batch for rows in batches[:-1])


@given(SIZES, ORDERS, st.lists(st.integers(0, 30), max_size=12), st.integers(1, 30), st.data())
def test_a_stream_from_a_later_cursor_goes_on_exactly(
    sizes: list[int], order: Order, before: list[int], batch: int, data: st.DataObject
) -> None:
    table = shards_of(*sizes)
    cursor = Cursor(order=order)
    whole = rank_stream(table, cursor, page_rows=4, tracked=True)
    for rows in before:
        cursor = cursor.after(whole.take(rows)[1])
        whole.advanced(cursor)
    cursor, digests = resumed(whole, cursor)
    later = rank_stream(table, cursor, page_rows=data.draw(st.integers(1, 9)), digests=digests)
    assert drain(later, batch)[0] == drain(whole, batch)[0]


@given(SIZES, st.integers(0, 60), st.integers(1, 5))
def test_wrong_estimates_change_no_row(sizes: list[int], estimate: int, batch: int) -> None:
    table = shards_of(*sizes)
    assert (
        drain(rank_stream(table, estimate=estimate), batch)[0]
        == drain(rank_stream(table), batch)[0]
    )


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 50))
def test_counted_weights_make_remaining_true_at_every_step(sizes: list[int], batch: int) -> None:
    stream = rank_stream(shards_of(*sizes))
    left = sum(sizes)
    while not stream.dry:
        assert stream.remaining.rows == left
        left -= stream.take(batch)[0].num_rows
    assert stream.remaining == Remaining(0, exact=True)


@given(SIZES, st.integers(0, 5), st.integers(1, 50))
def test_a_stream_that_is_not_dry_has_something_remaining(
    sizes: list[int], estimate: int, batch: int
) -> None:
    stream = rank_stream(shards_of(*sizes), estimate=estimate)
    while not stream.dry:
        remaining = stream.remaining
        assert remaining.rows >= 1
        taken = stream.take(batch)[0].num_rows
        assert taken == min(remaining.rows, batch) or not remaining.exact


def test_a_batch_mixes_shards_and_follows_no_row_order() -> None:
    table = shards_of(1000, 1000, 1000, 1000)
    batch = ids(rank_stream(table, page_rows=100).take(64)[0])
    assert sorted(row // 1000 for row in batch) == sorted([0, 1, 2, 3] * 16)
    assert batch != sorted(batch)


def test_the_last_slice_of_a_shard_says_so() -> None:
    stream = rank_stream(shards_of(5))
    assert stream.take(4)[1] == (Taken(ShardId("0"), 4, finished=False),)
    assert stream.take(1)[1] == (Taken(ShardId("0"), 1, finished=True),)
    assert stream.dry


def test_a_shard_that_ends_with_a_block_needs_no_further_step() -> None:
    stream = rank_stream(shards_of(8), Cursor(order=Order(block_rows=4)))
    assert stream.take(8)[1] == (Taken(ShardId("0"), 8, finished=True),)


def test_empty_shards_are_reported_and_end_with_the_last_row() -> None:
    stream = rank_stream(shards_of(0, 2, 0, 0, 0, 0, 0, 0))
    batch, used = stream.take(2)
    assert batch.num_rows == 2
    assert {taken.shard for taken in used if taken.finished} == {str(n) for n in range(8)}
    assert stream.dry


def test_a_rank_of_empty_shards_learns_it_without_asking_for_a_row() -> None:
    stream = rank_stream(shards_of(0, 0, 0), estimate=10)
    assert not stream.dry
    assert len(stream.take(0)[1]) == 3
    assert stream.dry


def test_a_rank_without_shards_is_dry_and_has_the_schema() -> None:
    stream = rank_stream(shards_of())
    assert stream.dry
    batch, used = stream.take(10)
    assert (batch.num_rows, batch.schema, used) == (0, IDS, ())


def test_a_finished_shard_is_never_opened_again() -> None:
    table = shards_of(3, 3)
    reader = MemoryReader(table)
    cursor = Cursor(taken={ShardId("0"): 3}, finished=frozenset({ShardId("0")}))
    RankStream(shards(table), cursor, lambda _: reader, IDS)
    assert len(reader.opened) == 1


def test_shards_are_opened_before_they_are_needed_but_not_all_at_once() -> None:
    table = shards_of(*[2] * 1024)
    reader = MemoryReader(table)
    stream = RankStream(shards(table), Cursor(order=Order(block_rows=8)), lambda _: reader, IDS)
    assert 0 < len(reader.opened) < 100
    stream.take(16)
    assert 16 < len(reader.opened) < 200


def test_each_shard_is_read_by_the_reader_chosen_for_it() -> None:
    table = shards_of(3, 3, 3)
    near, far = MemoryReader(table), MemoryReader(table)
    chosen = {ShardId("0"): near, ShardId("1"): far, ShardId("2"): near}
    stream = RankStream(shards(table), Cursor(), chosen.__getitem__, IDS)
    assert sorted(chain(*drain(stream, 4)[0])) == list(range(9))
    assert (len(near.opened), len(far.opened)) == (2, 1)


def test_closing_closes_every_shard_that_is_open() -> None:
    reader = MemoryReader(shards_of(9, 9, 9))
    stream = RankStream(shards(reader.table), Cursor(), lambda _: reader, IDS)
    stream.take(2)
    stream.close()
    stream.close()
    assert all(opened.closed for opened in reader.opened)


def test_a_shard_whose_last_rows_were_deleted_just_ends_and_is_changed() -> None:
    table = shards_of(7)
    stream = rank_stream(table, Cursor(order=Order(block_rows=4)), tracked=True)
    cursor, digests = resumed(stream, stream_cursor(stream, 6))
    left = rank_stream(shards_of(4), cursor, digests=digests)
    assert left.take(1)[1] == (Taken(ShardId("0"), 0, finished=True, changed=True),)


def test_a_cursor_without_a_position_of_a_begun_shard_is_refused() -> None:
    with pytest.raises(ValueError, match="taken 6 rows of 0, and no position"):
        rank_stream(shards_of(6), Cursor(taken={ShardId("0"): 6}))


def test_a_reader_that_breaks_its_schema_is_named() -> None:
    reader = MemoryReader(shards_of(3))
    other = pa.schema({"id": pa.int32()})
    stream = RankStream(shards(reader.table), Cursor(), lambda _: reader, other)
    with pytest.raises(ProtocolError, match=r"shard 0.*int64.*int32"):
        stream.take(1)


def stream_cursor(stream: RankStream, rows: int) -> Cursor:
    """The cursor once the first `rows` rows of a stream are part of the parameters."""
    cursor = Cursor(order=Order(block_rows=4)).after(stream.take(rows)[1])
    stream.advanced(cursor)
    return cursor
