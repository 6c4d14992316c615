"""How much is asked of a server at once: rows of a page, bytes of a buffer, open cursors."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.databases.budget import Budget, Need
from insitu.databases.ignite.reading.cursors import Cursors
from insitu.databases.ignite.reading.pages import (
    Page,
    PageSize,
    page_limit,
    parse_next,
    parse_scan,
    scan_request,
)
from insitu.errors import ProtocolError

MB = 1 << 20
GB = 1 << 30


def page(rows: int, row_bytes: int) -> Page:
    return Page(memoryview(bytes(rows * row_bytes)), 0, rows, more=True)


def settled(limit: int, row_bytes: int, pages: int = 12) -> PageSize:
    """After some pages of rows that all have that size."""
    size = PageSize(limit)
    for _ in range(pages):
        size = size.after(page(min(size.rows, 100_000), row_bytes))
    return size


def test_a_first_page_has_one_row_and_the_next_ones_at_most_eight_times_as_many() -> None:
    size = PageSize(4 * MB)
    assert size.rows == 1
    assert size.after(page(1, 10)).rows == 8


def test_rows_far_over_the_limit_come_one_at_a_time() -> None:
    assert not PageSize(MB).one_at_a_time
    assert not PageSize(MB).after(page(1, 2 * MB)).one_at_a_time
    assert PageSize(MB).after(page(1, 40 * MB)).one_at_a_time


@given(st.integers(1, 3 * MB))
def test_pages_of_equal_rows_fill_the_limit_and_do_not_exceed_it(row_bytes: int) -> None:
    size = settled(MB, row_bytes)
    assert size.rows * row_bytes <= MB or size.rows == 1
    assert (size.rows + 1) * row_bytes > MB or size.rows >= 100_000


@given(st.lists(st.integers(1, 1000), min_size=1), st.integers(1001, 10_000))
def test_rows_that_grow_are_believed_at_once(before: list[int], now: int) -> None:
    size = PageSize(MB)
    for row_bytes in before:
        size = size.after(page(4, row_bytes))
    assert size.after(page(4, now)).row_bytes == now


def test_a_page_without_rows_teaches_nothing() -> None:
    assert PageSize(MB).after(page(0, 1)) == PageSize(MB)


def test_a_page_that_the_server_could_not_build_is_asked_for_with_a_quarter_of_the_rows() -> None:
    size = settled(20 * MB, MB)
    assert size.refused(size.rows).rows == size.rows // 4
    assert PageSize(MB).refused(4).rows == 1
    assert PageSize(MB).refused(1).rows == 1


def test_a_cursor_with_pages_much_too_small_is_opened_again_only_near_its_start() -> None:
    size = settled(MB, 100)
    assert size.is_off(rows=32, seen=36)
    assert not size.is_off(rows=32, seen=100_000)
    assert not size.is_off(rows=size.rows, seen=size.rows)


def test_a_cursor_whose_rows_have_grown_is_opened_again() -> None:
    size = settled(MB, 100)
    grown = size.after(page(10, 10_000))
    assert grown.is_off(rows=size.rows, seen=1_000_000)
    assert not PageSize(MB).after(page(1, 5 * MB)).is_off(rows=1, seen=1)


@pytest.mark.parametrize(
    ("wanted", "buffer", "connections", "heap", "bytes_"),
    [
        (4 * MB, 32 * MB, 2, GB, 4 * MB),
        (20 * MB, 30 * MB, 2, 4 * GB, 10 * MB),
        (20 * MB, 64 * MB, 1, 960 * MB, 10 * MB),
        (20 * MB, 64 * MB, 2, 960 * MB, 5 * MB),
        (1, 1, 1, GB, 1 << 16),
    ],
)
def test_a_page_fits_the_buffer_and_the_servers_heap(
    wanted: int, buffer: int, connections: int, heap: int, bytes_: int
) -> None:
    assert page_limit(wanted, buffer, connections, heap) == bytes_


def test_cursors_on_large_rows_are_few_and_on_small_ones_many() -> None:
    assert Cursors(2, GB).limit(0) == 1
    assert Cursors(2, GB).limit(1_000_000) == 1
    assert Cursors(2, GB, longest=20).limit(1_000_000) == 8
    assert Cursors(2, GB).limit(500) == 128
    assert Cursors(2, None, longest=340).limit(10**9) == 1


def test_a_partition_longer_than_expected_leaves_fewer_cursors() -> None:
    cursors = Cursors(2, GB, longest=20)
    cursors.finished(60)
    assert cursors.limit(1_000_000) == 4


def test_a_scan_asks_one_node_for_one_partition_of_its_own() -> None:
    cache, flags, no_filter, rows, partition, local = struct.unpack(
        "<ibBiib", scan_request(-5, 7, 100)
    )
    assert (cache, flags, no_filter, rows, partition, local) == (-5, 0, 101, 100, 7, 1)


def test_replies_tell_cursor_rows_and_whether_more_follow() -> None:
    body = struct.pack("<i", 1) + bytes([8, 1, 8, 0]) + bytes([True])
    cursor, first = parse_scan(memoryview(struct.pack("<q", 42) + body))
    assert (cursor, first.start, first.count, first.more) == (42, 12, 1, True)
    following = parse_next(memoryview(body[:-1] + bytes([False])))
    assert (following.start, following.count, following.more) == (4, 1, False)


@pytest.mark.parametrize("body", [b"", b"\0" * 4, struct.pack("<i?", -1, False), b"\1\0\0\0\1"])
def test_replies_that_make_no_sense_are_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_next(memoryview(body))
    with pytest.raises(ProtocolError):
        parse_scan(memoryview(bytes(8) + body))


def test_pages_ahead_of_need_leave_room_for_all_that_comes_next() -> None:
    budget = Budget(total=100, page=20, connections=2)
    assert budget.admits(20, Need.AHEAD)
    budget.ask(30)
    assert not budget.admits(20, Need.AHEAD)
    budget.ask(30)
    assert budget.admits(20, Need.NEXT)
    budget.ask(20)
    assert not budget.admits(20, Need.NEXT)
    assert budget.admits(20, Need.AWAITED)


def test_an_awaited_page_may_exceed_the_buffer_only_when_nothing_else_is_under_way() -> None:
    budget = Budget(total=10, page=4)
    budget.ask(4)
    budget.arrive(4, 12)
    assert budget.admits(4, Need.AWAITED)
    budget.ask(4)
    assert not budget.admits(4, Need.AWAITED)


def test_a_page_larger_than_the_whole_buffer_goes_alone() -> None:
    budget = Budget(total=10, page=4)
    assert budget.admits(100, Need.AHEAD)
    budget.ask(100)
    assert not budget.admits(1, Need.AHEAD)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=20))
def test_what_is_counted_is_given_back(pages: list[tuple[int, int]]) -> None:
    budget = Budget(total=100, page=1)
    for asked, actual in pages:
        budget.ask(asked)
        budget.arrive(asked, actual)
        budget.hand_out(actual)
    assert (budget.used, budget.asked) == (0, 0)
