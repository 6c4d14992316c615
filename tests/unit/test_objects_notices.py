"""What is told once: the turns of a job, and nothing between them."""

from __future__ import annotations

from insitu.api import Reason, Status
from insitu_operator.core.objects.notices import Notice, notices
from tests.unit.backends import Pods
from tests.unit.job_builders import Scene


def told(scene: Scene, before: Status | None = None) -> list[Notice]:
    """Of every status on the scene's way to rest, one after the other."""
    found: list[Notice] = []
    last = before or scene.job.status
    for _ in range(6):
        scene.tick()
        found += notices(last, scene.job.status)
        last = scene.job.status
    return found


def test_a_start_tells_where_each_rank_is_and_that_all_run() -> None:
    bound, running = told(Scene(Pods()).read())
    assert (bound.type, bound.reason) == ("Normal", "Bound")
    assert bound.message == (
        "generation 1: rank 0 to host-a beside a, rank 1 to host-b beside b,"
        " rank 2 to host-c beside c"
    )
    assert running == Notice("Normal", "Running", "all 3 ranks are running")


def test_a_job_that_goes_on_as_it_did_tells_nothing() -> None:
    assert told(Scene(Pods()).started()) == []


def test_a_restart_is_told_once_with_its_cause() -> None:
    scene = Scene(Pods()).started().ends(1, 1, "boom").wait(6)
    found = told(scene) + told(scene.again(2))
    assert [n.reason for n in found] == ["Restarting", "Bound", "Running"]
    assert found[0].type == "Warning"
    assert "rank 1 beside b ended with exit code 1" in found[0].message


def test_holding_and_going_on_are_told() -> None:
    scene = Scene(Pods()).started()
    assert [n.reason for n in told(scene.suspend())] == ["Suspended"]
    found = told(scene.wait(1).suspend(False).read())
    assert [n.reason for n in found] == ["Resumed", "Bound", "Running"]


def test_what_a_job_waits_for_in_vain_is_told_once() -> None:
    scene = Scene(Pods()).cannot_read(Reason.ACCESS_DENIED)
    (stalled,) = told(scene)
    assert (stalled.type, stalled.reason) == ("Warning", "Stalled")
    assert stalled.message == "AccessDenied: no endpoint answers"
    assert not told(scene.wait(60))


def test_what_a_job_waits_for_is_told_once_unless_every_job_does() -> None:
    scene = Scene(Pods())
    assert not told(scene)
    (waiting,) = told(scene.cannot_read(Reason.DATABASE_UNAVAILABLE))
    assert waiting == Notice("Warning", "Waiting", "DatabaseUnavailable: no endpoint answers")
    assert not told(scene.wait(60))


def test_both_ends_are_told() -> None:
    (failed,) = told(Scene(Pods()).started().ends(0, 64, "column 'pixel' is unknown"))
    assert (failed.type, failed.reason) == ("Warning", "Failed")
    assert failed.message.startswith("ConfigurationRefused: rank 0 beside a refused to go on")
    (complete,) = told(Scene(Pods()).started().ends(0, 0).ends(1, 0).ends(2, 0))
    assert complete == Notice("Normal", "Complete", "all 3 ranks ended their work")


def test_a_message_fits_into_an_event() -> None:
    (failed,) = told(Scene(Pods()).started().ends(0, 64, *("x" * 300 for _ in range(20))))
    assert len(failed.message) == 1024
