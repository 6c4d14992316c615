"""An operator that is killed again and again loses no job, and never makes a pod twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.diary import diary
from tests.cluster.manifests import Space
from tests.cluster.operator_faults import RANKS, complaints, kill_at_random
from tests.cluster.operator_ground import ground

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_kills_at_random_moments_change_no_end(space: Space, tmp_path: Path) -> None:
    names = [f"job-{number}" for number in range(20)]
    with ground(space, tmp_path, RANKS) as place, diary(space.cluster, space.name) as kept:
        kill_at_random(place, kept, names, kills=15, seed=4)
        assert complaints(place, names, "Complete", kept) == []
