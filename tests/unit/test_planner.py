"""What a plan promises, case by case."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.api import Locality
from insitu.errors import ConfigurationError, DataLost
from insitu.topology import NodeId, Topology
from insitu_operator.core.planner import moved, plan
from tests.unit.planner_builders import (
    loads,
    shards_by_node,
    shuffled,
    spread_out,
    topologies,
    topology,
    without,
)


def test_one_node_gets_everything() -> None:
    made = plan(topology("a", "a", "a"), generation=1)
    assert shards_by_node(made) == {"a": ("0", "1", "2")}
    assert made.notes == ()


def test_a_plan_carries_its_generation_and_the_reading_it_was_made_from() -> None:
    made = plan(topology("a"), generation=7)
    assert (made.generation, made.topology) == (7, "1")


@pytest.mark.parametrize("shards", [1, 7, 64, 100, 1024])
@pytest.mark.parametrize("nodes", ["a", "a b", "a b c", "a b c d e"])
def test_with_replicas_everywhere_no_two_ranks_differ_by_more_than_one(
    shards: int, nodes: str
) -> None:
    assert max(loads(plan(topology(*[nodes] * shards), generation=1))) == -(
        -shards // len(nodes.split())
    )


def test_the_primary_is_preferred_where_balance_allows() -> None:
    made = plan(topology("b a", "a b", "b a", "a b"), generation=1)
    assert shards_by_node(made) == {"a": ("1", "3"), "b": ("0", "2")}


def test_a_balance_that_needs_a_chain_of_moves_is_found() -> None:
    """Shards 0 to 2 have to go up one node each so that shard 3 finds room."""
    made = plan(topology("a b", "b c", "c d", "a", idle="d"), generation=1)
    assert loads(made) == [1, 1, 1, 1]


def test_heavy_and_light_shards_are_paired() -> None:
    made = plan(topology(*["a b"] * 6, weights=[9, 8, 7, 3, 2, 1]), generation=1)
    assert loads(made) == [15, 15]


def test_a_shard_that_outweighs_all_others_leaves_them_to_the_other_nodes() -> None:
    made = plan(topology(*["a b c"] * 5, weights=[100, 1, 1, 1, 1]), generation=1)
    assert sorted(loads(made)) == [2, 2, 100]
    assert made.notes == (
        "shard 0 alone has 96 % of the rows and can't be divided: the rank of a has 2.88 times"
        " the mean",
    )


def test_one_partition_on_three_nodes_is_read_once_and_said() -> None:
    made = plan(topology("a b c", weights=[50]), generation=1)
    assert loads(made) == [50, 0, 0]
    assert made.notes[0] == "no rows for the ranks of b and c: only 1 of 1 shards have any"


def test_a_node_that_owns_nothing_gets_no_rank() -> None:
    assert shards_by_node(plan(topology("a", "b", idle="c"), generation=1)).keys() == {"a", "b"}


def test_shards_without_rows_are_spread_by_number() -> None:
    made = plan(topology(*["a b"] * 6, weights=[10, 0, 0, 0, 0, 10]), generation=1)
    assert [len(part.shards) for part in made.ranks] == [3, 3]
    assert loads(made) == [10, 10]


def test_an_empty_table_still_makes_a_plan() -> None:
    made = plan(topology(*["a b"] * 4, weights=[0, 0, 0, 0]), generation=1)
    assert [len(part.shards) for part in made.ranks] == [2, 2]
    assert made.notes == ("the table is empty",)


def test_estimates_of_no_rows_make_no_empty_table() -> None:
    unknown = replace(topology(*["a b"] * 4, weights=[0, 0, 0, 0]), weights_exact=False)
    made = plan(unknown, generation=1)
    assert [len(part.shards) for part in made.ranks] == [2, 2]
    assert made.notes == (
        "how many rows the shards have is not known yet: they are shared out by their number",
    )
    some = replace(topology("a b", weights=[50]), weights_exact=False)
    assert plan(some, generation=1).notes[0] == (
        "no rows are estimated for the rank of b: there may be some"
    )


def test_a_node_with_the_only_copies_is_named() -> None:
    made = plan(topology("a", "a", "a", "b c", "b c"), generation=1)
    assert made.notes == (
        "a holds the only copy of 60 % of the rows: its rank has 1.80 times the mean",
    )


def test_two_nodes_with_the_only_copies_are_named_together() -> None:
    made = plan(topology(*["a b"] * 8, "c", "d"), generation=1)
    assert made.notes == (
        "a and b hold the only copies of 80 % of the rows: their ranks have 1.60 times the mean",
    )


def test_shards_too_few_to_share_evenly_are_said() -> None:
    made = plan(topology(*["a b c"] * 10), generation=1)
    assert made.notes == (
        "no way was found to share 10 shards of these sizes over 3 ranks more evenly by over 1 %:"
        " the rank of a has 1.20 times the mean",
    )


def test_names_with_numbers_are_ordered_as_people_do() -> None:
    made = plan(topology(*["n10", "n9", "n1"] * 4), generation=1)
    assert [part.node for part in made.ranks] == ["n1", "n9", "n10"]
    assert made.ranks[2].shards == ("0", "3", "6", "9")


# Refusals.


def test_a_shard_without_an_owner_refuses_the_start() -> None:
    with pytest.raises(DataLost, match=r"3 shards \(1-2, 5\): no live database node holds"):
        plan(topology("a", "", "", "a", "a", ""), generation=1)


@pytest.mark.parametrize("locality", list(Locality))
def test_no_locality_reads_what_nobody_has(locality: Locality) -> None:
    with pytest.raises(DataLost, match="shard 1: "):
        plan(topology("a", ""), generation=1, locality=locality)


def test_a_shard_only_on_nodes_without_a_machine_refuses_required() -> None:
    with pytest.raises(ConfigurationError) as refused:
        plan(topology("a", "b c", "c"), generation=1, eligible={NodeId("a")})
    assert str(refused.value) == (
        "2 shards (1-2): the only copies are on b and c, where no trainer can run; let one run"
        " there, or set placement.locality to Preferred"
    )


def test_many_shards_are_named_in_short() -> None:
    with pytest.raises(DataLost, match=r"^50 shards \(0, 2, .*, 14, \.\.\. 42 more\): "):
        plan(topology(*["", "a"] * 50), generation=1)


def test_ranks_too_few_to_own_everything_are_refused_with_a_number_that_is_enough() -> None:
    with pytest.raises(ConfigurationError) as refused:
        plan(topology("a", "b", "c", "a b"), generation=1, max_ranks=2)
    assert str(refused.value) == (
        "placement.maxRanks is 2, and no choice of 2 of the 3 database nodes was found that owns"
        " every shard: shard 2 would be remote. Allow 3 ranks, or set placement.locality to"
        " Preferred"
    )


def test_no_machine_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="none of the 2 live database nodes"):
        plan(topology("a", "b"), generation=1, eligible=())


def test_a_table_without_shards_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no shards"):
        plan(topology(idle="a"), generation=1)


def test_no_ranks_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        plan(topology("a"), generation=1, max_ranks=0)


def test_an_unknown_locality_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'Required'"):
        plan(topology("a"), generation=1, locality="Requird")


# Fewer ranks than nodes.


def test_few_ranks_are_placed_on_nodes_that_own_everything() -> None:
    made = plan(topology("a b", "c b", "c d", "d a"), generation=1, max_ranks=2)
    assert made.world_size == 2
    assert not any(part.remote for part in made.ranks)


def test_a_cover_that_greed_misses_is_found() -> None:
    """x owns most, but only y and z own all together."""
    owners = ["x y", "x y", "x z", "x z", "y", "z"]
    made = plan(topology(*owners), generation=1, max_ranks=2)
    assert shards_by_node(made).keys() == {"y", "z"}


def test_few_ranks_stay_where_they_were() -> None:
    reading = topology(*["a b c d"] * 8)
    before = plan(reading, generation=1, max_ranks=2, eligible=[NodeId("c"), NodeId("d")])
    after = plan(reading, generation=2, max_ranks=2, previous=before)
    assert (moved(before, after), after.ranks) == (0, before.ranks)


# Locality.


def test_preferred_reads_remotely_only_what_has_no_owner_among_the_ranks() -> None:
    made = plan(
        topology("a", "b", "c", "c a"),
        generation=1,
        locality="Preferred",
        eligible=[NodeId("a"), NodeId("b")],
    )
    assert [shard for part in made.ranks for shard in part.remote] == ["2"]
    assert made.notes == (
        "shard 2, 25 % of the rows, read from another database node: the only copies are on c,"
        " which has no rank",
    )


def test_preferred_works_from_nodes_that_own_nothing() -> None:
    made = plan(
        topology("a", "a", idle="b c"), generation=1, locality="Preferred", eligible=[NodeId("b")]
    )
    assert shards_by_node(made) == {"b": ("0", "1")}
    assert made.ranks[0].remote == ("0", "1")


def test_ignored_balances_without_regard_to_owners_and_counts_what_is_remote() -> None:
    made = plan(topology(*["a"] * 9, "b"), generation=1, locality="Ignored")
    assert loads(made) == [5, 5]
    assert sum(len(part.remote) for part in made.ranks) > 0
    assert "locality is Ignored" in made.notes[0]


def test_ignored_is_even_over_many_nodes_too() -> None:
    reading = spread_out(40, 2000, 1, cycle([90, 100, 110]))
    assert plan(reading, generation=1, locality="Ignored").imbalance <= 1.01


# Moving from one plan to the next.


@given(topologies())
def test_no_change_moves_nothing(reading: Topology) -> None:
    before = plan(reading, generation=1)
    after = plan(reading, generation=2, previous=before)
    assert after.ranks == before.ranks


@pytest.mark.parametrize("locality", list(Locality))
def test_no_change_moves_nothing_at_any_locality(locality: Locality) -> None:
    reading = spread_out(20, 300, 1, cycle([5, 0, 3, 8]))
    some = [node.id for node in reading.nodes if locality == "Required" or node.id != "n3"]
    before = plan(reading, generation=1, locality=locality, eligible=some)
    after = plan(reading, generation=2, locality=locality, eligible=some, previous=before)
    assert after.ranks == before.ranks


def test_a_lost_node_moves_only_its_own_shards_when_replicas_are_everywhere() -> None:
    reading = topology(*["a b c"] * 30)
    before = plan(reading, generation=1)
    after = plan(without(reading, "b"), generation=2, previous=before)
    assert (loads(after), moved(before, after)) == ([15, 15], 10)


def test_a_joining_node_gets_its_share_and_the_others_stay() -> None:
    before = plan(topology(*["a b c"] * 12), generation=1)
    after = plan(topology(*["a b c d"] * 12), generation=2, previous=before)
    assert (loads(after), moved(before, after)) == ([3, 3, 3, 3], 3)


def test_a_shard_whose_node_no_longer_owns_it_moves() -> None:
    before = plan(topology("a", "b", "b"), generation=1)
    after = plan(topology("a", "b", "a"), generation=2, previous=before)
    assert (shards_by_node(after), moved(before, after)) == ({"a": ("0", "2"), "b": ("1",)}, 1)


def test_a_few_rows_more_or_less_move_nothing() -> None:
    before = plan(spread_out(5, 500, 2, cycle([1000, 1200, 900])), generation=1)
    grown = spread_out(5, 500, 2, cycle([1003, 1200, 904]))
    assert moved(before, plan(grown, generation=2, previous=before)) == 0


def test_the_ranks_that_stay_keep_their_numbers() -> None:
    reading = topology(*["a b c"] * 6)
    before = plan(reading, generation=1)
    after = plan(without(reading, "a"), generation=2, previous=before)
    assert {part.node: part.rank for part in after.ranks} == {"b": 1, "c": 0}
    again = plan(reading, generation=3, previous=after)
    assert {part.node: part.rank for part in again.ranks} == {"b": 1, "c": 0, "a": 2}


def test_a_shard_that_is_new_has_not_moved() -> None:
    before = plan(topology("a"), generation=1)
    assert moved(before, plan(topology("a", "b"), generation=2)) == 0


# For every topology.


@given(topologies(), st.sampled_from(list(Locality)))
def test_every_shard_is_in_exactly_one_rank(reading: Topology, locality: Locality) -> None:
    made = plan(reading, generation=1, locality=locality)
    counted = Counter(shard for part in made.ranks for shard in part.shards)
    assert counted == dict.fromkeys((s.id for s in reading.shards), 1)
    assert [part.rank for part in made.ranks] == list(range(made.world_size))
    assert sum(loads(made)) == sum(shard.weight for shard in reading.shards)


@given(topologies(), st.sampled_from(["Required", "Preferred"]))
def test_every_shard_is_with_an_owner(reading: Topology, locality: str) -> None:
    made = plan(reading, generation=1, locality=locality)
    node_of = {shard: part.node for part in made.ranks for shard in part.shards}
    assert all(node_of[shard.id] in shard.owners for shard in reading.shards)
    assert not any(part.remote for part in made.ranks)


@given(topologies(), topologies(), st.integers(0, 99))
def test_the_order_of_a_reading_does_not_matter(old: Topology, new: Topology, seed: int) -> None:
    before = plan(old, generation=1)
    told = plan(new, generation=2, previous=before)
    assert told == plan(shuffled(new, seed), generation=2, previous=before)


@pytest.mark.parametrize(
    "weights", [[1], [900, 950, 1000, 1050, 1100], [1, 10, 100, 1000]], ids=["equal", "near", "far"]
)
def test_many_shards_are_balanced_to_one_percent(weights: list[int]) -> None:
    reading = spread_out(40, 8000, 3, cycle(weights))
    assert plan(reading, generation=1).imbalance <= 1.01
