"""Of two replicas one acts, and the other one goes on where it was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.diary import diary
from tests.cluster.manifests import Space
from tests.cluster.operator_faults import RANKS, complaints, writes
from tests.cluster.operator_ground import ground, job

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_the_one_that_does_not_lead_writes_nothing(space: Space, tmp_path: Path) -> None:
    names = [f"job-{number}" for number in range(5)]
    with ground(space, tmp_path, RANKS) as place, diary(space.cluster, space.name) as kept:
        with place.operator("leader") as leader:
            leader.until_it_leads()
            with place.operator("follower", "operator-1") as follower:
                follower.until("waiting:")
                before = writes([leader, follower])
                place.submit(*(job(name, range(RANKS)) for name in names))
                kept.until_running(*names)
                after = writes([leader, follower])
        assert after[0] - before[0] >= len(names) * RANKS
        assert after[1] == before[1]


def test_the_follower_goes_on_when_the_leader_is_killed(space: Space, tmp_path: Path) -> None:
    names = [f"job-{number}" for number in range(10)]
    with ground(space, tmp_path, RANKS) as place, diary(space.cluster, space.name) as kept:
        with place.operator("leader") as leader:
            leader.until_it_leads()
            with place.operator("follower", "operator-1") as follower:
                follower.until("waiting:")
                place.submit(*(job(name, range(RANKS)) for name in names))
                kept.until(lambda: any(story.bound for story in kept.stories.values()))
                leader.kill()
                follower.until_it_leads()
                kept.until_running(*names)
        assert complaints(place, names, "Running", kept) == []
