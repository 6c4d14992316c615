"""Jobs that need the same machines, where there is room for one of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from insitu_operator.core.policies.gang import UNPLACED_SECONDS
from tests.simulator.judge import complaints
from tests.simulator.plans import Job, Plan
from tests.simulator.world import run

_TOGETHER_SECONDS = 0.5
_MACHINES = ((0, 1, 2), (0, 1), (1, 2), (0, 2))


def crowd(count: int, seed: int) -> Plan:
    """Jobs on overlapping machines, created within half a second."""
    chance = random.Random(seed)
    jobs = (
        Job(
            name=f"job-{number}",
            at=round(chance.uniform(0, _TOGETHER_SECONDS), 3),
            nodes=chance.choice(_MACHINES),
            steps=3,
        )
        for number in range(count)
    )
    return Plan(jobs=tuple(jobs), room=1, seed=seed)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [2, 3, 10])
def test_all_gangs_end_and_no_two_hold_parts_for_long(
    count: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for seed in range(request.config.getoption("--crowds")):
        plan = crowd(count, seed)
        assert not complaints(plan), plan.text()
        outcome = run(plan)
        assert {end.state for end in outcome.ends.values()} == {"Complete"}, plan.text()
        assert outcome.shared <= UNPLACED_SECONDS, plan.text()
