from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.data.quota import Remaining, quotas

EXACT = st.builds(Remaining, st.integers(0, 5000), st.just(True))
ESTIMATED = st.builds(Remaining, st.integers(1, 5000), st.just(False))
RANKS = st.lists(EXACT | ESTIMATED, min_size=1, max_size=12)
BATCH = st.integers(0, 3000)


def exactly(*rows: int) -> list[Remaining]:
    return [Remaining(r, exact=True) for r in rows]


@given(st.lists(EXACT, min_size=1, max_size=12), BATCH)
def test_a_step_has_exactly_the_asked_rows_while_they_last(
    ranks: list[Remaining], batch: int
) -> None:
    assert sum(quotas(ranks, batch)) == min(batch, sum(r.rows for r in ranks))


@given(RANKS, BATCH)
def test_a_step_with_an_estimated_rank_is_always_full(ranks: list[Remaining], batch: int) -> None:
    if any(not r.exact for r in ranks):
        assert sum(quotas(ranks, batch)) == batch


@given(RANKS, BATCH)
def test_no_exact_rank_is_asked_for_more_than_it_has(ranks: list[Remaining], batch: int) -> None:
    for rank, rows in zip(ranks, quotas(ranks, batch), strict=True):
        assert rows <= rank.rows or not rank.exact


@given(RANKS, BATCH)
def test_an_estimated_rank_is_asked_where_there_is_a_row_for_each(
    ranks: list[Remaining], batch: int
) -> None:
    alive = sum(r.rows > 0 for r in ranks)
    for rank, rows in zip(ranks, quotas(ranks, batch), strict=True):
        if rank.rows and not rank.exact and batch >= alive:
            assert rows >= 1


@given(st.lists(EXACT, min_size=1, max_size=12), st.integers(1, 3000))
def test_shares_are_within_one_row_of_the_proportion(ranks: list[Remaining], batch: int) -> None:
    total = sum(r.rows for r in ranks)
    for rank, rows in zip(ranks, quotas(ranks, batch), strict=True):
        if total >= batch:
            assert abs(rows * total - batch * rank.rows) < total


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.integers(1, 100))
def test_ranks_end_on_about_the_same_step(rows: list[int], batch: int) -> None:
    steps, ended = 0, [0] * len(rows)
    left = list(rows)
    while any(left):
        steps += 1
        for rank, asked in enumerate(quotas(exactly(*left), batch)):
            left[rank] -= asked
            if asked and not left[rank]:
                ended[rank] = steps
    assert steps == -(-sum(rows) // batch)
    # A rank with less than a row for each step may end any time, the others all together.
    assert all(steps - end <= 1 for had, end in zip(rows, ended, strict=True) if had > steps)


def test_ties_go_to_the_lower_rank_so_that_all_ranks_agree() -> None:
    assert quotas(exactly(5, 5, 5), 4) == (2, 1, 1)


def test_a_rank_that_ran_dry_gets_nothing() -> None:
    assert quotas(exactly(0, 10, 0), 4) == (0, 4, 0)


def test_a_low_estimate_takes_the_surplus_of_the_last_steps() -> None:
    ranks = [Remaining(3, exact=True), Remaining(1, exact=False)]
    assert quotas(ranks, 64) == (3, 61)


def test_nothing_left_asks_for_nothing() -> None:
    assert quotas(exactly(0, 0), 64) == (0, 0)


def test_negative_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        quotas(exactly(1), -1)
