from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.data.order import BLOCK_BYTES, Order
from insitu.topology import ShardId

SHARDS = [ShardId(str(n)) for n in range(200)]


@given(
    seed=st.integers(), epoch=st.integers(0, 9), block=st.integers(0, 9), rows=st.integers(1, 99)
)
def test_a_block_of_any_length_is_permuted(seed: int, epoch: int, block: int, rows: int) -> None:
    order = Order(seed).permutation(epoch, ShardId("a"), block, rows)
    assert sorted(order) == list(range(rows))


def test_the_order_of_a_block_is_the_same_for_ever() -> None:
    order = Order(seed=7).permutation(2, ShardId("17"), 3, 12)
    assert order.tolist() == [11, 9, 1, 8, 2, 7, 3, 5, 4, 10, 6, 0]


def test_every_part_of_the_key_changes_the_order() -> None:
    keys = [(0, 0, "1", 1), (1, 0, "1", 1), (0, 1, "1", 1), (0, 0, "11", 1), (0, 0, "1", 11)]
    orders = {
        tuple(Order(seed).permutation(epoch, ShardId(shard), block, 50))
        for seed, epoch, shard, block in keys
    }
    assert len(orders) == len(keys)


def test_the_order_of_shards_does_not_depend_on_how_they_are_listed() -> None:
    order = Order(seed=1)
    assert order.shards(0, SHARDS) == order.shards(0, reversed(SHARDS))
    assert sorted(order.shards(0, SHARDS)) == sorted(SHARDS)


def test_epochs_and_seeds_order_shards_differently() -> None:
    assert Order(1).shards(0, SHARDS) != Order(1).shards(1, SHARDS)
    assert Order(1).shards(0, SHARDS) != Order(2).shards(0, SHARDS)


def test_a_rank_with_half_the_shards_keeps_their_relative_order() -> None:
    order = Order(seed=3)
    half = SHARDS[::2]
    assert order.shards(0, half) == [s for s in order.shards(0, SHARDS) if s in set(half)]


def test_rows_land_anywhere_in_their_block() -> None:
    places = np.stack([Order(seed).permutation(0, ShardId("a"), 0, 64) for seed in range(2000)])
    counts = np.stack([np.bincount(places[:, position], minlength=64) for position in range(64)])
    # 2,000 draws of 64 places: 31 expected in each cell, six standard deviations are 33.
    assert counts.min() > 3
    assert counts.max() < 65


@given(st.floats(1, 1e9))
def test_blocks_of_wide_rows_are_shorter(row_bytes: float) -> None:
    rows = Order.sized(0, row_bytes).block_rows
    assert 16 <= rows <= 1024
    assert rows * row_bytes <= BLOCK_BYTES or rows == 16


def test_a_block_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Order(block_rows=0)
