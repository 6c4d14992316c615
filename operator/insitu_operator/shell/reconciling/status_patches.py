"""What is sent to a job's /status. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from insitu.api import ConditionStatus, ConditionType, Reason, Status
from insitu.api.status import LocalityShare
from insitu_operator.kubernetes import Json

_LONGEST = 32768


def status_patch(body: Json, status: Status) -> Json:
    """The JSON merge patch that makes `status` the whole status of the job `body`.

    It fails when the job is another version, or another job, than `body`.
    """
    after = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return _patch(body, _replacing(body.get("status") or {}, after))


def lesser(status: Status) -> Iterator[Status]:
    """The same with less and less of what comes from outside, until only what Insitu decided is
    left: the conditions without their messages, and its own counts.
    """
    if status.trainer_status:
        told = status.trainer_status.model_copy(update={"metrics": ()})
        yield status.model_copy(update={"trainer_status": told})
    rest = {"trainer_status": None, "checkpoint": None, "nodes": ()}
    yield status.model_copy(update=rest)
    conditions = tuple(c.model_copy(update={"message": ""}) for c in status.conditions)
    counts = {"locality": LocalityShare(), "rows": None, "conditions": conditions}
    yield status.model_copy(update=rest | counts)


def stalled_patch(body: Json, reason: Reason, message: str, now: datetime) -> Json | None:
    """Says why nothing is done about a job that can't be judged, and leaves the rest of its
    status; None when it says so already.
    """
    before: Json = body.get("status") or {}
    conditions: list[Json] = before.get("conditions") or []
    generation = body["metadata"].get("generation", 0)
    told = [
        _condition(conditions, kind, status, reason, message[:_LONGEST], generation, now)
        for kind, status in (
            (ConditionType.RECONCILING, ConditionStatus.FALSE),
            (ConditionType.STALLED, ConditionStatus.TRUE),
        )
    ]
    if all(condition in conditions for condition in told):
        return None
    kinds = {condition["type"] for condition in told}
    kept = [condition for condition in conditions if condition["type"] not in kinds]
    return _patch(
        body,
        {
            "conditions": [*kept, *told],
            "observedGeneration": generation,
            "summary": {"status": f"Waiting: {reason}"},
        },
    )


def _patch(body: Json, status: Json) -> Json:
    return {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}, "status": status}


def _replacing(before: Json, after: Json) -> Json:
    """`after`, with None for what `before` has beyond it (RFC 7396)."""
    patch: Json = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        old: Any = before.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        patch[key] = _replacing(old, value) if both else value
    return patch


def _condition(
    conditions: list[Json],
    kind: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: str,
    generation: int,
    now: datetime,
) -> Json:
    old = next((c for c in conditions if c["type"] == kind), {})
    since = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": str(kind),
        "status": str(status),
        "reason": str(reason),
        "message": message,
        "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == status else since,
        "observedGeneration": generation,
    }
