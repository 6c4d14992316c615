"""Places instead of counts: a table that is written meanwhile, and a shard in parts."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.contract import Assignment
from insitu.data import Cursor, Order, Remaining, Taken
from insitu.data.cursor import Digests
from insitu.databases import DataSource
from insitu.session.collective import Alone, Exchange, Share
from insitu.session.locality import LocalFirst
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId
from tests.keys import at
from tests.memory import MemoryDatabase
from tests.unit.builders import drain, ids, rank_stream, resumed

S = ShardId("s")
ORDER = Order(seed=1, block_rows=4)


def begun(rows: list[int], taken: int) -> tuple[list[int], Cursor, dict[ShardId, Digests]]:
    """The first `taken` rows of an epoch, and what is committed behind them."""
    stream = rank_stream({S: rows}, Cursor(order=ORDER), tracked=True)
    batch, used = stream.take(taken)
    cursor = Cursor(order=ORDER).after(used)
    stream.advanced(cursor)
    return ids(batch), *resumed(stream, cursor)


def rest(
    rows: list[int], cursor: Cursor, digests: dict[ShardId, Digests]
) -> tuple[list[int], bool]:
    """What is left, and whether the block that was begun had changed."""
    batches, used = drain(rank_stream({S: rows}, cursor, digests=digests), 5)
    return [row for batch in batches for row in batch], any(taken.changed for taken in used)


ROWS = st.integers(2, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1)))


@given(ROWS, st.sets(st.integers(0, 300)), st.sets(st.integers(0, 29)))
def test_rows_that_come_and_go_cost_no_other_row_its_turn(
    sizes: tuple[int, int], new: set[int], gone: set[int]
) -> None:
    rows = [10 * number for number in range(sizes[0])]
    first, cursor, digests = begun(rows, sizes[1])
    now = {row for row in rows if row // 10 not in gone} | {row for row in new if row % 10}
    later, _ = rest(sorted(now), cursor, digests)
    taken = Counter(first + later)
    assert all(taken[row] == 1 for row in set(rows) & now)
    assert max(taken.values()) == 1


@given(ROWS)
def test_an_unchanged_table_goes_on_in_the_order_of_one_that_was_never_left(
    sizes: tuple[int, int],
) -> None:
    rows = list(range(sizes[0]))
    first, cursor, digests = begun(rows, sizes[1])
    whole, _ = drain(rank_stream({S: rows}, Cursor(order=ORDER)), 5)
    assert (first + rest(rows, cursor, digests)[0], False) == (
        [row for batch in whole for row in batch],
        rest(rows, cursor, digests)[1],
    )


def test_a_change_inside_of_a_begun_block_is_noticed_and_none_elsewhere() -> None:
    rows = [10 * number for number in range(12)]
    first, cursor, digests = begun(rows, 6)
    assert not rest(sorted([*rows, 5, 105]), cursor, digests)[1]
    assert rest(sorted([*rows, 55]), cursor, digests)[1]
    for row in (40, 50, 60, 70):
        assert rest([other for other in rows if other != row], cursor, digests)[1]
    assert min(first[4:]) >= 40
    assert max(first[4:]) <= 70


def test_rows_that_come_behind_the_last_block_are_taken_in_any_number_of_resumes() -> None:
    rows = [0, 10]
    first, cursor, digests = begun(rows, 1)
    rows += [20, 30, 40]
    while S not in cursor.finished:
        stream = rank_stream({S: rows}, cursor, digests=digests, tracked=True)
        batch, used = stream.take(1)
        first += ids(batch)
        cursor = cursor.after(used)
        stream.advanced(cursor)
        cursor, digests = resumed(stream, cursor)
    assert sorted(first) == rows


def test_what_was_drawn_and_not_trained_on_is_not_committed() -> None:
    rows = list(range(20))
    stream = rank_stream({S: rows}, Cursor(order=ORDER), tracked=True)
    batch, used = stream.take(6)
    cursor = Cursor(order=ORDER).after(used)
    stream.advanced(cursor)
    while not stream.dry:
        stream.take(3)
        left, changed = rest(rows, *resumed(stream, cursor))
        assert (sorted(ids(batch) + left), changed) == (rows, False)


def test_a_shard_that_was_not_opened_again_is_committed_as_it_was() -> None:
    table = {ShardId(str(n)): list(range(100 * n, 100 * n + 9)) for n in range(4)}
    stream = rank_stream(table, Cursor(order=ORDER), tracked=True)
    cursor = Cursor(order=ORDER).after(stream.take(12)[1])
    stream.advanced(cursor)
    cursor, digests = resumed(stream, cursor)
    later = rank_stream(table, cursor, digests=digests, window=1, tracked=True)
    cursor = cursor.after(later.take(1)[1])
    later.advanced(cursor)
    assert len(cursor.blocks) == 3
    assert set(resumed(later, cursor)[0].blocks) == set(table)


def test_changes_reach_all_ranks() -> None:
    taken = (Taken(S, 3, finished=False, changed=True), Taken(ShardId("u"), 1, finished=True))
    share = Share(5, Remaining(2, exact=True), taken=taken)
    exchange = Exchange(Alone(), [S, ShardId("t"), ShardId("u")], room=1)
    assert exchange(share) == [share]


def in_parts(locality: str = "Preferred") -> LocalFirst:
    """Shard `s`: rows 0 to 4 on node a, 5 to 9 on node b; this rank is beside a."""
    a, b = NodeId("a"), NodeId("b")
    nodes = tuple(DatabaseNode(node, "127.0.0.1", 1) for node in (a, b))
    parts = (Shard(ShardId("s0"), (a,), 5), Shard(ShardId("s1"), (b,), 5))
    tables = {
        part.id: pa.table({"id": range(5 * number, 5 * number + 5)})
        for number, part in enumerate(parts)
    }
    database = MemoryDatabase(tables, (a, b), {parts[0].id: (a,), parts[1].id: (b,)})
    assignment = Assignment(
        job="j",
        generation=1,
        rank=0,
        world_size=1,
        source=DataSource("memory", (), "t"),
        node=nodes[0],
        shards=(Shard(S, (), 10, parts=parts),),
        nodes=nodes,
        locality=locality,
    )
    return LocalFirst(assignment, database.reader)


@pytest.mark.parametrize("start", [0, 3, 5, 7, 10])
def test_a_shard_in_parts_is_read_from_each_owner(start: int) -> None:
    readers = in_parts()
    rows = [row for batch in readers.open(S, at(start)) for row in ids(batch)]
    assert rows == list(range(start, 10))


def test_parts_count_where_they_came_from() -> None:
    readers = in_parts()
    for _ in readers.open(S):
        pass
    assert (readers.share.rows_local, readers.share.rows_remote) == (5, 5)
