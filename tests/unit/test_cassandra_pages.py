"""How many rows a page is asked for with, which statement asks, and where its rows stand."""

from __future__ import annotations

import struct

import pytest
from cassandra.metadata import Murmur3Token
from hypothesis import given
from hypothesis import strategies as st

from insitu.databases.cassandra.columns.rows import locate
from insitu.databases.cassandra.columns.types import Column, Native, VectorOf
from insitu.databases.cassandra.reading.pages import PageSize, fewer, first_size, page_limit
from insitu.databases.cassandra.reading.statement import Select
from insitu.databases.cassandra.reading.tokens import Mark, Tokens, token_of
from tests.cassandra_values import page

MB = 1 << 20
KEY = (Column("id", Native.INT),)


def keys(count: int) -> list[bytes]:
    """Keys in the order of their tokens."""
    return sorted((struct.pack(">i", n) for n in range(count)), key=lambda key: token_of([key]))


def tokens(rows: list[bytes], before: Mark | None = None) -> Tokens:
    return Tokens(locate(page([[row] for row in rows]), KEY), len(rows), before)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 20))
def test_a_place_is_a_token_and_a_count_also_across_pages(sizes: list[int], page_rows: int) -> None:
    rows = [key for key, size in zip(keys(len(sizes)), sizes, strict=True) for _ in range(size)]
    expected = [Mark(token_of([row]), rows[:n].count(row)) for n, row in enumerate(rows)]
    found: list[Mark] = []
    for start in range(0, len(rows), page_rows):
        one = tokens(rows[start : start + page_rows], found[-1] if found else None)
        found += [one.mark(row) for row in range(len(rows[start : start + page_rows]))]
    assert found == expected


def test_rows_before_a_place_are_of_its_token_only() -> None:
    one, other = keys(2)
    rows = tokens([one, one, one, other])
    mark = token_of([one])
    assert rows.reaching(Mark(mark, 2), passed=0) == 2
    assert rows.reaching(Mark(mark, 5), passed=3) == 2
    assert rows.reaching(Mark(mark, 9), passed=0) == 3
    assert rows.reaching(Mark(mark, 2), passed=2) == 0


def test_the_token_of_a_compound_key_is_the_drivers() -> None:
    assert token_of([b"\0\0\0\1"]) == Murmur3Token.hash_fn(b"\0\0\0\1")
    assert token_of([b"a", b""]) == Murmur3Token.hash_fn(b"\0\1a\0\0\0\0")


def test_rows_of_fixed_width_need_no_try_at_their_size() -> None:
    columns = (Column("id", Native.BIGINT), Column("v", VectorOf(Native.FLOAT, 256)))
    assert first_size(4 * MB, columns).rows == 4 * MB // (12 + 1028)


def test_rows_of_unknown_size_begin_small_and_grow() -> None:
    size = first_size(4 * MB, (Column("t", Native.TEXT),))
    assert size.rows == 8
    size = size.after(8, 8 * 100)
    assert size.rows == 64
    assert size.after(64, 64 * 100_000).rows == 41


def test_shrinking_rows_are_believed_slowly() -> None:
    size = PageSize(MB, 1000.0, 10_000).after(1000, 1000 * 100)
    assert size.row_bytes == pytest.approx(550)


def test_an_empty_page_tells_nothing() -> None:
    size = PageSize(MB, 10.0, 100)
    assert size.after(0, 0) == size


def test_pages_are_smaller_than_what_may_be_held() -> None:
    assert page_limit(4 * MB, 32 * MB, 2) == 4 * MB
    assert page_limit(64 * MB, 33 * MB, 2) == 11 * MB
    assert fewer(100) == 25
    assert fewer(1) == 1


def test_the_key_is_asked_for_with_the_wanted_columns() -> None:
    select = Select("k", "T", ("v", "b"), ("a", "b"))
    assert select.asked == ("v", "b", "a")
    assert select.key_places == (2, 1)
    assert select.cql == (
        'SELECT "v", "b", "a" FROM "k"."T" WHERE token("a", "b") > ? AND token("a", "b") <= ?'
    )


def test_a_condition_comes_with_the_leave_to_filter() -> None:
    assert Select("k", "t", ("a",), ("a",), "x = 1").cql.endswith("AND x = 1 ALLOW FILTERING")
