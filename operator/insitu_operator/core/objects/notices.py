"""What is told once, when it happens, as Kubernetes Events about a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from insitu.api import ConditionType, Reason, Status

_LONGEST = 1024
"""Characters of an Event's message."""

_USUAL = frozenset({Reason.TOPOLOGY_PENDING, Reason.WAITING_FOR_WORKERS, Reason.SHARDS_MOVING})
"""What each job waits for, for a moment."""


@dataclass(frozen=True, slots=True)
class Notice:
    """`type` is Normal or Warning, `reason` one word for machines."""

    type: str
    reason: str
    message: str


def notices(before: Status, after: Status) -> tuple[Notice, ...]:
    """Of all that changed between two statuses; none while a job goes on as it did."""
    return tuple(
        Notice(notice.type, notice.reason, _short(notice.message))
        for notice in _notices(before, after)
    )


def _notices(before: Status, after: Status) -> Iterator[Notice]:
    if after.generation > before.generation:
        yield Notice("Normal", "Bound", _bound(after))
    if _became_true(ConditionType.RUNNING, before, after):
        yield Notice("Normal", "Running", f"all {after.workers.desired} ranks are running")
    doing, was = after.condition(ConditionType.RECONCILING), _doing(before)
    if doing and doing.reason is Reason.RESTARTING and was is not Reason.RESTARTING:
        yield Notice("Warning", "Restarting", doing.message)
    waits = after.summary.status.startswith("Waiting") and not after.is_true(ConditionType.STALLED)
    if waits and doing and doing.reason not in (was, *_USUAL):
        yield Notice("Warning", "Waiting", f"{doing.reason}: {doing.message}")
    if _became_true(ConditionType.SUSPENDED, before, after):
        yield Notice("Normal", "Suspended", "no rank runs until the suspension is lifted")
    if _became_true(ConditionType.SUSPENDED, after, before):
        yield Notice("Normal", "Resumed", "the suspension was lifted")
    if _became_true(ConditionType.STALLED, before, after):
        stalled = after.condition(ConditionType.STALLED)
        if stalled and not after.is_true(ConditionType.FAILED):
            yield Notice("Warning", "Stalled", f"{stalled.reason}: {stalled.message}")
    if _became_true(ConditionType.FAILED, before, after):
        failed = after.condition(ConditionType.FAILED)
        assert failed is not None
        yield Notice("Warning", "Failed", f"{failed.reason}: {failed.message}")
    if _became_true(ConditionType.COMPLETE, before, after):
        complete = after.condition(ConditionType.COMPLETE)
        assert complete is not None
        yield Notice("Normal", "Complete", complete.message)


def _became_true(kind: ConditionType, before: Status, after: Status) -> bool:
    return after.is_true(kind) and not before.is_true(kind)


def _doing(status: Status) -> Reason | None:
    found = status.condition(ConditionType.RECONCILING)
    return found.reason if found else None


def _bound(status: Status) -> str:
    shown = [f"rank {n.rank} to {n.node} beside {n.database_node}" for n in status.nodes[:8]]
    more = status.workers.desired - len(shown)
    return f"generation {status.generation}: " + ", ".join(
        shown + ([f"and {more} more"] if more > 0 else [])
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 4] + " ..."
