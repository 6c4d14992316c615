"""A rank's rows in blocks, without TensorFlow."""

from __future__ import annotations

from itertools import chain

import pyarrow as pa
import pytest

from insitu.data.cursor import Taken
from insitu.data.stream import RankStream
from insitu.tensorflow.feed import Feed
from tests.memory import MemoryDatabase
from tests.ranks import assignments, table
from tests.unit.builders import resumed


def feed(*rows: int) -> Feed:
    database = MemoryDatabase(table(*rows))
    return Feed(assignments(database, 1)[0], lambda _source: database)


def ids(blocks: object) -> list[int]:
    return list(chain.from_iterable(b.column("id").to_pylist() for b in blocks))  # type: ignore[attr-defined]


def test_an_epoch_has_every_row_once_in_an_order_of_its_own() -> None:
    rows = feed(30, 0, 50, 7)
    first = ids(rows.blocks(rows.start(0, seed=1), 8))
    assert sorted(first) == list(range(87))
    assert ids(rows.blocks(rows.start(0, seed=1), 8)) == first
    assert ids(rows.blocks(rows.start(1, seed=1), 8)) != first
    assert ids(rows.blocks(rows.start(0, seed=2), 8)) != first


@pytest.mark.parametrize("batches", [0, 1, 5, 11])
def test_the_cursor_behind_any_batch_leads_to_the_rest(batches: int) -> None:
    rows = feed(30, 50, 8)
    taken: list[tuple[Taken, ...]] = []
    start = rows.start(0, seed=1)
    streams: list[RankStream] = []
    whole = ids(rows.blocks(start, 8, taken.append, opened=streams.append))
    assert len(taken) == 11
    cursor = start
    for each in taken[:batches]:
        cursor = cursor.after(each)
        streams[0].advanced(cursor)
    cursor, digests = resumed(streams[0], cursor)
    assert ids(rows.blocks(cursor, 8, digests=digests)) == whole[8 * batches :]


def test_blocks_are_whole_batches_but_for_the_last() -> None:
    rows = feed(20_000, 20_001)
    sizes = [block.num_rows for block in rows.blocks(rows.start(0, seed=1), 512)]
    assert sizes[:-1] == [16_384, 16_384]
    assert sum(sizes) == 40_001


def test_large_rows_make_small_blocks() -> None:
    batch = pa.table({"id": range(40), "blob": [bytes(1 << 20)] * 40})
    database = MemoryDatabase(dict.fromkeys(table(0), batch))
    rows = Feed(assignments(database, 1)[0], lambda _source: database)
    sizes = [block.num_rows for block in rows.blocks(rows.start(0, seed=1), 4)]
    assert sizes == [16, 16, 8]


def test_a_scan_has_the_order_of_the_database() -> None:
    assert ids(feed(3, 0, 9).scan()) == list(range(12))
    assert ids(feed(0).scan()) == []


def test_every_pass_closes_the_database_even_when_it_is_left() -> None:
    opened: list[MemoryDatabase] = []

    def open_database(_source: object) -> MemoryDatabase:
        opened.append(MemoryDatabase(table(100)))
        return opened[-1]

    rows = Feed(assignments(MemoryDatabase(table(100)), 1)[0], open_database)
    pass_ = rows.blocks(rows.start(0, seed=1), 8)
    next(pass_)
    pass_.close()  # type: ignore[attr-defined]
    next(rows.scan())
    assert [database.closed for database in opened] == [True] * len(opened)
