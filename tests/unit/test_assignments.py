"""What each rank of a plan is told."""

from __future__ import annotations

import pytest

from insitu.contract import ALONE, Assignment
from insitu.databases import DataSource
from insitu_operator.core.assignments import assignments
from tests.unit.job_builders import Scene, job


def told(scene: Scene) -> Assignment:
    """What rank 0 is told."""
    assert scene.record
    assert scene.reading
    source = DataSource("ignite", (("h", 1),), "T")
    return assignments(
        scene.job,
        scene.record,
        scene.reading.topology,
        source=source,
        store="memory:///",
        master=("m", 1),
    )[0]


@pytest.mark.parametrize("happens", ["nothing", "eviction", "a lost record"])
def test_every_generation_is_told_from_which_commit_the_job_begins(happens: str) -> None:
    scene = Scene(checkpoint={"resumeFrom": 2}).started()
    match happens:
        case "eviction":
            scene.vanishes(0, 1, 2).settle().again().settle()
            assert scene.generation == 2
        case "a lost record":
            scene.commits(500).record = None
            scene.settle().again().settle()
    assert told(scene).checkpoint.resume_from == 2


def test_a_rank_is_told_which_life_of_the_job_it_is() -> None:
    scene = Scene().started()
    assert told(scene).run == ALONE
    scene.job = job(uid="uid-7")
    assert told(scene).run == "uid-7"
