"""Whatever becomes of a watch, the whole operator goes on, and no trainer notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.diary import diary
from tests.cluster.manifests import Space
from tests.cluster.operator_faults import RANKS, complaints, cut_watches, trainers
from tests.cluster.operator_ground import ground, job
from tests.cluster.watch_proxy import proxy

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

CUTS = ("gone", "broken", "closed")


def test_jobs_are_run_after_every_cut(space: Space, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig-of-proxy"
    with (
        ground(space, tmp_path, RANKS) as place,
        proxy(space.cluster.kubeconfig, file) as served,
        place.supervised(KUBECONFIG=str(file)),
        diary(space.cluster, space.name) as kept,
    ):
        place.submit(job("before", range(RANKS)))
        kept.until_running("before")
        before = trainers(place)
        for cut in CUTS:
            cut_watches(served, cut)
            place.submit(job(f"after-{cut}", range(RANKS)))
            kept.until_running(f"after-{cut}")
        assert before.items() <= trainers(place).items()
        names = ["before", *(f"after-{cut}" for cut in CUTS)]
        assert complaints(place, names, "Running", kept) == []
