"""Places instead of counts: a table that is written meanwhile, and a shard in parts."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.contract import Assignment
from insitu.data import Block, Cursor, Order, Remaining, Taken
from insitu.databases import DataSource, Mark
from insitu.errors import DataChanged
from insitu.session.collective import Alone, Exchange, Share
from insitu.session.locality import LocalFirst
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId
from tests.memory import MemoryDatabase
from tests.unit.builders import drain, ids, rank_stream

S = ShardId("s")
ORDER = Order(seed=1, block_rows=4)


def begun(rows: list[int], taken: int) -> tuple[list[int], Cursor]:
    """The first `taken` rows of an epoch, and the cursor behind them."""
    stream = rank_stream({S: rows}, Cursor(order=ORDER), marked=True)
    batch, used = stream.take(taken)
    return ids(batch), Cursor(order=ORDER).after(used)


def rest(rows: list[int], cursor: Cursor, *, strict: bool = True) -> list[int]:
    stream = rank_stream({S: rows}, cursor, marked=True, strict=strict)
    return [row for batch in drain(stream, 5)[0] for row in batch]


@given(
    st.integers(2, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))),
    st.lists(st.integers(0, 300), unique=True),
)
def test_rows_that_come_elsewhere_shift_nothing(sizes: tuple[int, int], new: list[int]) -> None:
    rows = [10 * number for number in range(sizes[0])]
    first, cursor = begun(rows, sizes[1])
    block = cursor.blocks[S]
    last = block.last or block.first
    added = [row for row in new if row % 10 and not block.first.number < row < last.number]
    later = rest(sorted(rows + added), cursor)
    taken = Counter(first + later)
    assert all(taken[row] == 1 for row in rows)
    assert all(taken[row] == (row > last.number) for row in added if row < block.first.number)


def test_rows_that_come_inside_of_a_begun_block_are_noticed() -> None:
    rows = [10 * number for number in range(12)]
    _, cursor = begun(rows, 6)
    with pytest.raises(DataChanged, match="in the middle of"):
        rest(sorted([*rows, 55]), cursor)
    assert len(rest(sorted([*rows, 55]), cursor, strict=False)) == 7


def test_rows_that_come_behind_the_last_block_are_taken_in_any_number_of_resumes() -> None:
    rows = [0, 10]
    first, cursor = begun(rows, 1)
    rows += [20, 30, 40]
    while S not in cursor.finished:
        stream = rank_stream({S: rows}, cursor, marked=True)
        batch, used = stream.take(1)
        first += ids(batch)
        cursor = cursor.after(used)
    assert sorted(first) == rows


def test_rows_that_go_before_a_block_are_not_missed_behind_it() -> None:
    rows = [10 * number for number in range(12)]
    first, cursor = begun(rows, 6)
    assert sorted(first + rest(rows[3:], cursor)) == rows


def test_blocks_reach_all_ranks() -> None:
    taken = (
        Taken(S, 3, finished=False, block=Block(Mark(-(1 << 63), 2), Mark((1 << 63) - 1, 0), 4, 3)),
        Taken(ShardId("t"), 1, finished=False, block=Block(Mark(7, 1))),
        Taken(ShardId("u"), 1, finished=True),
    )
    share = Share(5, Remaining(2, exact=True), stop=False, taken=taken)
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


@pytest.mark.parametrize("skip", [0, 3, 5, 7, 10])
def test_a_shard_in_parts_is_read_from_each_owner(skip: int) -> None:
    readers = in_parts()
    rows = [row for batch in readers.open(S, skip) for row in ids(batch)]
    assert rows == list(range(skip, 10))


def test_parts_count_where_they_came_from() -> None:
    readers = in_parts()
    for _ in readers.open(S):
        pass
    assert (readers.share.rows_local, readers.share.rows_remote) == (5, 5)
