from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from insitu.checkpoint import Commit, Fence, Part
from insitu.checkpoint.records import decode, decode_cursor, encode, encode_cursor
from insitu.data import BlockPosition, Cursor, Order, Taken
from insitu.data.identity import Fingerprint, Origin, ShardSet
from insitu.databases import RowPosition
from insitu.topology import ShardId
from tests.keys import at
from tests.unit.builders import NOON

SHARD = st.one_of(
    st.integers(0, 70_000).map(str), st.sampled_from(["007", "-1", "none", "a-b", "ks.t:0/7", ""])
).map(ShardId)
POSITION = st.builds(RowPosition, st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40))
BLOCK = st.builds(
    BlockPosition, POSITION, POSITION, st.integers(0), st.integers(0), st.integers(0)
) | POSITION.map(lambda first: BlockPosition(first, number=7))
CURSORS = st.builds(
    Cursor,
    st.integers(0, 9),
    st.integers(0, 10**9),
    st.dictionaries(SHARD, st.integers(0, 50), max_size=20),
    st.frozensets(SHARD, max_size=20),
    st.builds(Order, st.integers(-(2**63), 2**63), st.integers(1, 9999)),
    st.dictionaries(SHARD, BLOCK, max_size=5),
)
MINE = Origin("uid-3", Fingerprint("cassandra", "ks.t", "id < 9", 48, "0f" * 16))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.builds(Part, st.text(), st.integers(0), st.just("crc32:0"), st.integers(0, 99))


@given(CURSORS)
def test_a_cursor_survives_json(cursor: Cursor) -> None:
    assert decode_cursor(json.loads(json.dumps(encode_cursor(cursor)))) == cursor


@given(CURSORS, st.tuples(PARTS), st.none() | st.integers(0, 99), st.dictionaries(st.text(), JSON))
def test_a_commit_survives_its_record(
    cursor: Cursor, parts: tuple[Part, ...], parent: int | None, meta: dict[str, object]
) -> None:
    commit = Commit(7, 3, "w", NOON, cursor, 2, parts, parent, meta, 5, MINE)  # type: ignore[arg-type]
    assert decode(7, encode(commit)) == commit


def test_a_fence_survives_its_record() -> None:
    for fence in (Fence(7, 3, "w", NOON), Fence(7, 3, "w", NOON, MINE, ("uid-1", "uid-2"))):
        assert decode(7, encode(fence)) == fence


@given(st.sets(SHARD), st.sets(SHARD), st.integers(0, 2**32))
def test_ranks_add_up_their_shards_to_the_same_set_however_they_are_dealt(
    shards: set[ShardId], others: set[ShardId], dealt: int
) -> None:
    first = {shard for number, shard in enumerate(sorted(shards)) if dealt >> number % 32 & 1}
    whole = ShardSet.of(shards)
    assert ShardSet.of(first) + ShardSet.of(shards - first) == whole
    assert ShardSet.from_bytes(whole.to_bytes()) == whole
    assert (ShardSet.of(others) == whole) == (others == shards)


def test_a_cursor_of_many_equal_partitions_is_short() -> None:
    everywhere = {ShardId(str(n)): 1000 for n in range(65_536)}
    cursor = Cursor(taken=everywhere, finished=frozenset(everywhere))
    assert len(json.dumps(encode_cursor(cursor))) < 250


def test_a_cursor_adds_up_what_all_ranks_took() -> None:
    a, b = ShardId("a"), ShardId("b")
    cursor = Cursor().after([Taken(a, 2, finished=False), Taken(b, 3, finished=True)])
    cursor = cursor.after([Taken(a, 4, finished=True)])
    assert cursor == Cursor(step=2, taken={a: 6, b: 3}, finished=frozenset({a, b}))
    assert cursor.rows == 9


def test_a_cursor_forgets_the_block_of_a_shard_that_more_is_taken_of() -> None:
    a, b = ShardId("a"), ShardId("b")
    begun = Cursor(taken={a: 3, b: 2}, blocks={a: BlockPosition(at(1)), b: BlockPosition(at(5))})
    assert begun.after([Taken(a, 1, finished=False)]).blocks == {b: BlockPosition(at(5))}
    assert begun.after([Taken(b, 0, finished=True)]).blocks == {a: BlockPosition(at(1))}
    assert begun.next_epoch().blocks == {}


def test_the_next_epoch_starts_empty_and_keeps_step_and_order() -> None:
    cursor = Cursor(2, 9, {ShardId("a"): 3}, frozenset(), Order(5, 8)).next_epoch()
    assert cursor == Cursor(epoch=3, step=9, order=Order(5, 8))
