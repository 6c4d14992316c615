from __future__ import annotations

import pytest

from insitu.data import check_epoch, check_table
from insitu.data.exactness import check_counts, check_not_empty
from insitu.errors import DataChanged, DataLost
from insitu.topology import NodeId


def test_an_epoch_that_took_every_row_is_exact() -> None:
    assert check_epoch(100, 100, 100) is None


@pytest.mark.parametrize(("expected", "now"), [(None, None), (None, 100), (100, None)])
def test_a_database_that_cannot_count_proves_nothing(expected: int | None, now: int | None) -> None:
    assert check_table(expected, now) is None
    assert check_epoch(expected, 100, now) is None


def test_rows_that_went_with_a_node_are_lost_and_the_node_is_named() -> None:
    problem = check_epoch(1000, 667, 667, gone=[NodeId("ignite-2")])
    assert isinstance(problem, DataLost)
    assert "333 of 1,000 rows" in str(problem)
    assert "database node ignite-2 went away" in str(problem)
    assert "backups=1" in str(problem)


def test_missing_rows_are_lost_where_nobody_knows_about_the_nodes() -> None:
    assert isinstance(check_table(1000, 667), DataLost)


def test_missing_rows_were_deleted_where_all_nodes_are_there() -> None:
    problem = check_table(1000, 990, gone=[])
    assert isinstance(problem, DataChanged)
    assert "deleted" in str(problem)


def test_added_rows_are_a_change_even_where_the_epoch_took_the_first_count() -> None:
    problem = check_epoch(1000, 1000, 1005)
    assert isinstance(problem, DataChanged)
    assert "5 were added" in str(problem)


@pytest.mark.parametrize("taken", [998, 1001])
def test_rows_that_came_and_went_while_they_were_read_are_noticed(taken: int) -> None:
    problem = check_epoch(1000, taken, 1000)
    assert isinstance(problem, DataChanged)
    assert f"took {taken:,} rows of a table of 1,000" in str(problem)


def test_an_epoch_is_measured_by_the_one_before_where_nobody_can_count() -> None:
    assert check_counts(None, 100) is None
    assert check_counts(100, 100) is None
    assert isinstance(check_counts(100, 99), DataChanged)


def test_an_epoch_without_rows_is_wrong_after_a_step_only() -> None:
    assert check_not_empty(0, steps=0) is None
    assert check_not_empty(1, steps=9) is None
    assert isinstance(check_not_empty(0, steps=9), DataLost)


def test_an_epoch_is_measured_by_the_count_of_now_where_nobody_counted_before() -> None:
    assert isinstance(check_epoch(None, 90, 100), DataChanged)
