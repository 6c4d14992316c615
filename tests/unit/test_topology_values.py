"""The values that everybody passes around: topology, plan, cursor, and hints in errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from insitu.data import Cursor, Taken
from insitu.errors import UnsupportedType, nearest
from insitu.topology import NodeId, ShardId
from insitu_operator.core.plan import Assigned, Plan
from tests.unit.planner_builders import topology


def test_a_topology_finds_nodes_by_id() -> None:
    assert topology("a b").node[NodeId("b")].host == "b.local"


def test_a_shard_without_owners_is_an_orphan() -> None:
    assert topology("a", "", "b", "").orphans == ("1", "3")


def test_a_shard_with_a_copy_under_way_is_moving_and_no_orphan() -> None:
    reading = topology("a", "b")
    first, second = reading.shards
    reading = replace(reading, shards=(first, replace(second, moving=True)))
    assert (reading.moving, reading.orphans) == (("1",), ())


def test_topologies_of_the_same_reading_are_equal() -> None:
    reading = topology("a")
    assert reading.node
    assert reading == topology("a")


def _plan(*weights: int) -> Plan:
    parts = (
        Assigned(rank, NodeId(f"n{rank}"), (ShardId(str(rank)),), weight)
        for rank, weight in enumerate(weights)
    )
    return Plan(generation=1, topology="1", ranks=tuple(parts))


@pytest.mark.parametrize(
    ("weights", "imbalance"), [((), 1.0), ((0, 0), 1.0), ((5, 5), 1.0), ((9, 3), 1.5), ((4, 0), 2)]
)
def test_imbalance_is_the_heaviest_rank_over_the_mean(
    weights: tuple[int, ...], imbalance: float
) -> None:
    assert _plan(*weights).imbalance == imbalance


def test_a_plan_knows_the_rank_of_each_shard() -> None:
    made = _plan(1, 1)
    assert (made.world_size, dict(made.rank_of)) == (2, {"0": 0, "1": 1})


def test_a_cursor_is_not_changed_by_what_follows_it() -> None:
    start = Cursor()
    following = start.after([Taken(ShardId("0"), 3, False)])
    assert (start.rows, start.step, following.rows, following.step) == (0, 0, 3, 1)


def test_a_finished_shard_stays_finished_and_counted_to_the_end_of_the_epoch() -> None:
    shard = ShardId("0")
    cursor = Cursor().after([Taken(shard, 3, False)]).after([Taken(shard, 0, True)]).after([])
    assert dict(cursor.taken) == {shard: 3}
    assert cursor.finished == frozenset({shard})
    assert cursor.step == 3


@pytest.mark.parametrize(
    ("wrong", "known", "hint"),
    [
        ("pixel", ["pixels", "label"], " (did you mean 'pixels'?)"),
        ("PIXELS", ["Pixels"], " (did you mean 'Pixels'?)"),
        ("x", ["label", "image"], " (there is: image, label)"),
        ("x", [], " (there is none)"),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_all_there_are(
    wrong: str, known: list[str], hint: str
) -> None:
    assert nearest(wrong, known) == hint


def test_of_many_known_names_only_the_first_are_told() -> None:
    known = [f"column{i:02}" for i in range(30)]
    assert nearest("x", known) == f" (there is: {', '.join(known[:10])}, ...)"


def test_an_unsupported_value_is_named_by_its_path() -> None:
    error = UnsupportedType("val.address.street", "no mapping for type 103")
    assert (error.path, str(error)) == (
        "val.address.street",
        "val.address.street: no mapping for type 103",
    )
