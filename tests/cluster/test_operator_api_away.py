"""Without the API server nothing is lost, and no trainer notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.diary import diary
from tests.cluster.manifests import Space
from tests.cluster.operator_faults import RANKS, api_server_away, complaints, trainers
from tests.cluster.operator_ground import ground, job

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_an_api_server_that_was_away_costs_no_pod(space: Space, tmp_path: Path) -> None:
    with ground(space, tmp_path, RANKS) as place, place.supervised() as operators:
        with diary(space.cluster, space.name) as kept:
            place.submit(job("before", range(RANKS)))
            kept.until_running("before")
        place.submit(*(job(name, range(RANKS)) for name in ("amid-1", "amid-2")))
        before = trainers(place)
        api_server_away(place, 15)
        names = ["before", "amid-1", "amid-2", "after"]
        with diary(space.cluster, space.name) as kept:
            place.submit(job("after", range(RANKS)))
            kept.until_running(*names)
        assert before.items() <= trainers(place).items()
        assert complaints(place, names, "Running") == []
        assert operators[-1].process.poll() is None
