"""The planner against an exact solver, on small cases."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.topology import Topology
from insitu_operator.core.plan import Plan
from insitu_operator.core.planner import moved, plan
from tests.unit.planner_builders import least_heaviest, least_moves, loads, topologies

EQUAL = topologies(st.just(3))
WEIGHTED = topologies(st.integers(1, 1000))


@given(EQUAL)
@settings(max_examples=50)
def test_with_equal_weights_no_plan_is_more_even(reading: Topology) -> None:
    assert max(loads(plan(reading, generation=1))) == least_heaviest(reading)


@given(WEIGHTED)
@settings(max_examples=50, derandomize=True)  # a heuristic: nothing proves it never misses
def test_with_any_weights_no_plan_is_more_even_by_over_one_percent(reading: Topology) -> None:
    assert max(loads(plan(reading, generation=1))) <= 1.01 * least_heaviest(reading)


@given(EQUAL, EQUAL)
@settings(max_examples=50)
def test_with_equal_weights_no_plan_as_even_moves_less(old: Topology, new: Topology) -> None:
    before, after, least = _replanned(old, new)
    assert max(loads(after)) <= 1.01 * least_heaviest(new)
    assert _away(before, after) == least


@given(WEIGHTED, WEIGHTED)
@settings(max_examples=50, derandomize=True)  # a heuristic: nothing proves the 3
def test_with_any_weights_little_more_moves_than_has_to(old: Topology, new: Topology) -> None:
    before, after, least = _replanned(old, new)
    assert max(loads(after)) <= 1.01 * max(loads(plan(new, generation=3)))
    assert _away(before, after) <= least + 3


def _replanned(old: Topology, new: Topology) -> tuple[Plan, Plan, int]:
    """The plan for `old`, the one for `new` that follows it, and the least moves to one as even."""
    before = plan(old, generation=1)
    after = plan(new, generation=2, previous=before)
    return before, after, least_moves(new, before, limit=max(loads(after)))


def _away(before: Plan, after: Plan) -> int:
    """Shards that moved, and those that are new: a new one can't stay anywhere."""
    return moved(before, after) + len(after.rank_of.keys() - before.rank_of.keys())
