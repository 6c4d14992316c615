"""What is written to /status, and what is read from a Job's Events."""

from __future__ import annotations

from typing import Any

from insitu.api import Reason, Status, TrainingJob
from insitu_operator.kubernetes import Json
from insitu_operator.shell.reconciling.hindrances import newest_failure
from insitu_operator.shell.reconciling.status_patches import stalled_patch, status_patch
from tests.unit.job_builders import START, Scene

LATER = START.replace(hour=1)


def body(status: Json | None = None) -> Json:
    metadata = {"name": "digits", "resourceVersion": "7", "generation": 2}
    return {"metadata": metadata} | ({} if status is None else {"status": status})


def written(before: Json, patch: Json) -> Json:
    """What an API server makes of it (RFC 7396)."""
    after = dict(before)
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        elif isinstance(value, dict):
            after[key] = written(after.get(key, {}), value)
        else:
            after[key] = value
    return after


def test_whatever_a_status_was_it_becomes_the_new_one() -> None:
    scene = Scene().read().started()
    running = scene.job.status
    scene.suspend().settle()
    held = scene.job.status
    stored: Json = {}
    for status in (running, held, running, Status()):
        stored = written(stored, status_patch(body(stored), status)["status"])
        assert Status.model_validate(stored) == status


def test_a_status_is_only_written_over_the_version_that_was_judged() -> None:
    assert status_patch(body(), Status())["metadata"] == {"resourceVersion": "7"}


def test_lists_carry_no_nothings() -> None:
    """The API server refuses null where a definition says number or text."""
    patch = status_patch(body(), Scene().read().started().job.status)
    assert all(None not in entry.values() for entry in patch["status"]["nodes"])


def test_an_unreadable_job_is_stalled_and_keeps_the_rest_of_its_status() -> None:
    status: Json = {
        "generation": 3,
        "conditions": [
            {"type": "Running", "status": "True", "reason": "FromTheFuture"},
            {"type": "Reconciling", "status": "True", "reason": "Starting"},
        ],
    }
    patch = stalled_patch(body(status), Reason.OBJECT_INVALID, "it is odd", START)
    assert patch is not None
    after = written(status, patch["status"])
    assert after["generation"] == 3
    told = {c["type"]: (c["status"], c["reason"]) for c in after["conditions"]}
    assert told == {
        "Running": ("True", "FromTheFuture"),
        "Reconciling": ("False", "ObjectInvalid"),
        "Stalled": ("True", "ObjectInvalid"),
    }
    assert after["observedGeneration"] == 2


def test_an_unreadable_job_is_told_so_once() -> None:
    first = stalled_patch(body(), Reason.OBJECT_INVALID, "it is odd", START)
    assert first is not None
    stored = written({}, first["status"])
    assert stalled_patch(body(stored), Reason.OBJECT_INVALID, "it is odd", LATER) is None
    again = stalled_patch(body(stored), Reason.OBJECT_INVALID, "odder", LATER)
    assert again is not None
    assert again["status"]["conditions"][1]["lastTransitionTime"] == "2026-01-01T00:00:00Z"


def test_what_says_stalled_is_what_the_model_reads() -> None:
    patch = stalled_patch(body(), Reason.KUBERNETES_REFUSED, "no", START)
    assert patch is not None
    Status.model_validate(patch["status"])
    assert TrainingJob.model_fields["status"].annotation is Status


def event(note: str, at: str, uid: str = "u") -> Json:
    return {"metadata": {}, "regarding": {"uid": uid}, "note": note, "eventTime": at}


def test_the_newest_event_of_the_job_itself_tells_why_pods_dont_come() -> None:
    denied = 'Error creating: pods "digits-g1-0-x7k2p" is forbidden: exceeded quota: small'
    events: list[dict[str, Any]] = [
        event("Error creating: old", "2026-01-01T00:00:00Z"),
        event(denied, "2026-01-01T00:00:09Z"),
        event("Error creating: another's", "2026-01-01T00:00:10Z", uid="v"),
    ]
    said = newest_failure("digits-g1", "u", events)
    assert said == "Job 'digits-g1' can't create its pods: forbidden: exceeded quota: small"


def test_no_event_is_no_reason() -> None:
    assert newest_failure("digits-g1", "u", []) == ""
