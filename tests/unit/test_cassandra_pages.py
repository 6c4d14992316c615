"""How many rows a page is asked for with, which statement asks, and where its rows stand."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from cassandra.metadata import Murmur3Token
from hypothesis import given
from hypothesis import strategies as st

from insitu.databases.cassandra.columns.rows import locate
from insitu.databases.cassandra.columns.types import Column, Native, VectorOf
from insitu.databases.cassandra.reading.keys import (
    BatchKeys,
    ClusteringColumn,
    KeyShape,
    PageKeys,
    RowKey,
    parse_key,
)
from insitu.databases.cassandra.reading.pages import PageSize, fewer, first_size, page_limit
from insitu.databases.cassandra.reading.statement import Clustering, Select
from insitu.databases.cassandra.reading.tokens import token_of
from insitu.errors import DataChanged
from tests.cassandra_values import page

MB = 1 << 20
KEY = (Column("id", Native.INT),)


def keys(count: int) -> list[bytes]:
    """Keys in the order of their tokens."""
    return sorted((struct.pack(">i", n) for n in range(count)), key=lambda key: token_of([key]))


@given(st.sets(st.integers(0, 9), min_size=1), st.integers(0, 9), st.integers(0, 10))
def test_rows_before_a_key_are_told_whether_its_row_is_there_or_not(
    there: set[int], wanted: int, first: int
) -> None:
    every = keys(10)
    cells = locate(page([[every[n]] for n in sorted(there)]), KEY)
    rows = PageKeys(KeyShape(1), cells, len(there))
    key = RowKey((every[wanted],))
    before = sum(n < wanted for n in there)
    assert rows.before(key) == before
    through = before + (wanted in there)
    start = min(first, len(there) - 1)
    batch = BatchKeys(rows, start, len(there) - start)
    assert batch.up_to(key.position) == max(through - start, 0)
    assert batch.position(0) == RowKey((every[sorted(there)[start]],)).position


def test_a_key_survives_its_position_and_no_two_share_a_digest() -> None:
    shape = KeyShape(2, (ClusteringColumn(Native.TEXT), ClusteringColumn(Native.INT, True)))
    made = [
        RowKey((a, b), (c, d))
        for a in (b"", b"x")
        for b in (b"\0\0\0\1", b"y")
        for c in (b"", b"zz")
        for d in (b"", b"\0\0\0\2")
    ]
    assert [parse_key(shape, key.position) for key in made] == made
    columns = tuple(Column(name, Native.BLOB) for name in "abcd")
    cells = locate(page([[*key.partition, *key.clustering] for key in made]), columns)
    rows = PageKeys(shape, cells, len(made))
    assert [rows.key(row) for row in range(len(made))] == made
    digests = rows.digests(np.arange(len(made)))
    assert len(set(digests.tolist())) == len(made)
    assert rows.digests(np.array([9, 3])).tolist() == digests[[9, 3]].tolist()
    for wrong in (KeyShape(1), KeyShape(2, packed=True), KeyShape(7)):
        with pytest.raises(DataChanged, match="another primary key"):
            parse_key(wrong, made[-1].position)


def test_rows_go_on_behind_one_in_the_order_of_the_table() -> None:
    clustering = (Clustering("a"), Clustering("b", descending=True))
    select = Select("k", "t", ("v",), ("p",), clustering=clustering)
    assert select.asked == ("v", "p", "a", "b")
    rows = 'SELECT "v", "p", "a", "b" FROM "k"."t" WHERE'
    start = RowKey((b"p",), (b"1", b"2"))
    found = [(part.cql, part.values) for part in select.rest(start, [(b"p",), (b"q",)])]
    assert found == [
        (f'{rows} "p" = ? AND "a" = ? AND "b" <= ?', (b"p", b"1", b"2")),
        (f'{rows} "p" = ? AND "a" > ?', (b"p", b"1")),
        (f'{rows} "p" = ?', (b"q",)),
    ]


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
