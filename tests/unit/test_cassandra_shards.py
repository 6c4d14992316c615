"""Shards of Cassandra: cut from the ring, weighed, and found again on a later ring."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.databases.cassandra.cluster.density import (
    Density,
    Estimate,
    Probe,
    believable,
    estimates,
)
from insitu.databases.cassandra.cluster.shards import SHARDS_A_NODE, refit
from insitu.databases.cassandra.ranges import FIRST, LAST, RING, TokenRange, parse_range
from insitu.errors import ConfigurationError
from insitu.topology import MeasuredLocality, ShardId
from insitu_operator.cli.plan_table import plan_json, plan_lines
from insitu_operator.core.planner import plan
from tests.unit.cassandra_builders import ring, topology_of

HALF = TokenRange(FIRST, -1)
OTHER = TokenRange(-1, LAST)


@pytest.mark.parametrize("vnodes", [1, 16, 256])
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_shards_are_the_ring_once_in_pieces_of_one_replica_set(vnodes: int, copies: int) -> None:
    topology = topology_of(ring(5, vnodes), copies)
    pieces = [parse_range(shard.id) for shard in topology.shards]
    assert (pieces[0].start, pieces[-1].end) == (FIRST, LAST)
    assert all(a.end == b.start for a, b in itertools.pairwise(pieces))
    assert len(pieces) >= 8 * 5
    assert max(piece.width for piece in pieces) <= RING.width / (5 * SHARDS_A_NODE) + 1
    assert {len(shard.owners) for shard in topology.shards} == {copies}


def test_the_cut_depends_on_the_ring_alone() -> None:
    members = ring(3)
    one = topology_of(members, 2)
    other = topology_of(members, 2, down="n1", density=Density([Estimate(HALF, 7)]))
    assert [shard.id for shard in one.shards] == [shard.id for shard in other.shards]
    assert one.version != other.version


@pytest.mark.parametrize(("nodes", "copies"), [(3, 2), (3, 3), (12, 2), (12, 3), (100, 3)])
def test_sixteen_vnodes_with_copies_are_balanced(nodes: int, copies: int) -> None:
    for seed in range(3 if nodes < 100 else 1):
        made = plan(topology_of(ring(nodes, 16, seed=seed), copies), generation=1)
        assert made.imbalance <= 1.02


def test_a_node_that_is_down_owns_nothing_and_is_named() -> None:
    members = ring(3)
    with_copies = topology_of(members, 2, down="n1")
    assert not with_copies.orphans
    alone = topology_of(members, 1, down="n1")
    assert alone.orphans
    assert "node n1 (10.0.0.1:9042) does not answer; " in alone.warnings[0]
    assert "token ranges have no copy on any other live node" in alone.warnings[0]


def test_shards_move_while_a_node_joins_or_leaves() -> None:
    members = ring(3)
    assert not topology_of(members, 2).moving
    assert len(topology_of(members, 2, joining="n9").moving) == len(topology_of(members, 2).shards)
    leaving = topology_of(members, 1, leaving="n2")
    assert {s.owners for s in leaving.shards if s.moving} == {("n2",)}


def test_a_reading_of_the_same_ring_needs_no_refit() -> None:
    topology = topology_of(ring(3), 2)
    assert refit(topology, [shard.id for shard in topology.shards]) is topology


@given(st.integers(1, 5), st.integers(1, 3), st.sampled_from([1, 16]))
def test_old_shards_are_found_on_a_larger_ring(nodes: int, copies: int, vnodes: int) -> None:
    members = ring(nodes + 1, vnodes)
    before = topology_of(members[:-1], copies)
    now = topology_of(members, copies)
    seen = refit(now, [shard.id for shard in before.shards])
    assert [shard.id for shard in seen.shards] == [shard.id for shard in before.shards]
    assert not seen.orphans
    assert sum(shard.weight for shard in seen.shards) == pytest.approx(
        sum(shard.weight for shard in now.shards), rel=0.01
    )
    for shard in seen.shards:
        whole = parse_range(shard.id)
        parts = [parse_range(part.id) for part in shard.parts] or [whole]
        assert (parts[0].start, parts[-1].end) == (whole.start, whole.end)
        holders = [part.owners for part in shard.parts] or [shard.owners]
        for tokens, owners in zip(parts, holders, strict=True):
            for piece in now.shards:
                if tokens.common(parse_range(piece.id)):
                    assert set(owners) <= set(piece.owners)


def test_a_shard_across_owners_is_read_in_parts_where_that_is_allowed() -> None:
    members = ring(3, 1)
    first = plan(topology_of(members[:2], 1), generation=1)
    seen = refit(topology_of(members, 1), first.rank_of.keys())
    split = [shard for shard in seen.shards if shard.parts]
    assert split
    assert all(shard.readable and not shard.owners for shard in split)
    with pytest.raises(ConfigurationError, match="no database node holds all of it since nodes"):
        plan(seen, generation=2, previous=first)
    second = plan(seen, generation=2, previous=first, locality="Preferred")
    assert {shard for part in second.ranks for shard in part.remote} == {s.id for s in split}
    assert any("read in parts from several database nodes" in note for note in second.notes)
    for shard in split:
        assert second.ranks[second.rank_of[shard.id]].node in shard.holders


def test_a_part_without_a_live_owner_is_lost() -> None:
    members = ring(3, 1)
    ids = [shard.id for shard in topology_of(members[:2], 1).shards]
    assert refit(topology_of(members, 1, down="n2"), ids).orphans


def test_what_is_no_token_range_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'7' is no shard of Cassandra"):
        refit(topology_of(ring(2), 1), [ShardId("7")])


def test_a_range_that_wraps_is_two_estimates() -> None:
    assert estimates(str(LAST - 1), str(FIRST + 3), 8) == [
        Estimate(TokenRange(LAST - 1, LAST), 2),
        Estimate(TokenRange(FIRST, FIRST + 3), 6),
    ]


def test_estimates_that_chance_explains_are_believed() -> None:
    few = [[Estimate(HALF, 9)], [Estimate(OTHER, 3)]]
    assert believable(few) == [few[0][0], few[1][0]]
    many = [[Estimate(HALF, 1_010_000)], [Estimate(OTHER, 990_000)]]
    assert len(believable(many)) == 2


def test_estimates_of_nodes_that_have_not_looked_since_are_not() -> None:
    assert believable([[Estimate(HALF, 100_000)], [Estimate(OTHER, 40_000)]]) == []
    assert believable([[Estimate(HALF, 100_000)], []]) == []
    assert believable([[Estimate(HALF, 0)], [Estimate(OTHER, 0)]]) == []


def test_ranges_without_an_estimate_are_as_dense_as_the_others() -> None:
    density = Density([Estimate(HALF, 100)])
    assert density.rows(OTHER) == pytest.approx(100)
    assert density.rows(RING) == pytest.approx(200)


def test_probes_tell_how_many_rows_partitions_have() -> None:
    density = Density([Estimate(HALF, 10), Estimate(OTHER, 30)], [Probe(RING, 4000)])
    assert density.rows(HALF) == pytest.approx(1000)
    assert density.rows(OTHER) == pytest.approx(3000)


@pytest.mark.parametrize("nothing", [Density([]), Density([], [Probe(RING, 0)])])
def test_without_anything_to_go_by_the_plan_says_that_sizes_are_not_known(
    nothing: Density,
) -> None:
    topology = topology_of(ring(3), 2, density=nothing)
    assert {shard.weight for shard in topology.shards} == {0}
    assert not topology.weights_known
    assert any("no estimate of the table's size" in warning for warning in topology.warnings)
    made = plan(topology, generation=1)
    assert any("is not known yet" in note for note in made.notes)
    assert not any("empty" in note for note in made.notes)
    assert '"remote": [], "rows": null' in json.dumps(plan_json(made, topology))
    assert "an unknown number of rows" in plan_lines(made, topology)[0]


@given(st.integers(0, 500), st.sampled_from([1, 16, 256]), st.integers(1, 5))
def test_few_rows_in_many_shards_are_no_empty_table(rows: int, vnodes: int, nodes: int) -> None:
    topology = topology_of(ring(nodes, vnodes), 1, density=Density([], [Probe(RING, rows)]))
    assert sum(shard.weight for shard in topology.shards) == rows
    seen = refit(topology_of(ring(nodes + 1, vnodes), 1), [s.id for s in topology.shards])
    assert sum(shard.weight for shard in seen.shards) == pytest.approx(1_000_000, abs=1)


def test_partitions_larger_than_what_was_looked_at_are_said() -> None:
    density = Density([], [Probe(HALF, 250, cut_short=True), Probe(OTHER, 3)])
    warnings = topology_of(ring(3), 2, density=density).warnings
    assert any("there are more rows than estimated" in warning for warning in warnings)


def test_a_condition_makes_row_counts_those_of_the_whole_table() -> None:
    topology = topology_of(ring(3), 2, where="label = 1")
    assert any("meet `where` (label = 1) is not known" in text for text in topology.warnings)


@pytest.mark.parametrize(
    ("share", "says"),
    [(0.417, "read only 41 % of"), (None, "could not be measured"), (1.0, "may come to prefer")],
)
def test_a_plan_says_what_was_measured(share: float | None, says: str) -> None:
    reading = replace(topology_of(ring(3), 2), locality=MeasuredLocality(share, "set this"))
    made = plan(reading, generation=1, locality="Preferred")
    assert any(says in note and note.endswith("set this") for note in made.notes)


def test_required_refuses_copies_that_are_read_elsewhere() -> None:
    reading = replace(topology_of(ring(3), 2), locality=MeasuredLocality(0.999, "set this"))
    with pytest.raises(ConfigurationError, match=r"only 99 % .* is Required: set this; or"):
        plan(reading, generation=1)
    for share in (1.0, None):
        plan(replace(reading, locality=MeasuredLocality(share, "set this")), generation=1)
