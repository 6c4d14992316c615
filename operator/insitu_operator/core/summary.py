"""The job in a few words: the columns of `kubectl get` and the first line of `insitu run`."""

from __future__ import annotations

from insitu.api import ConditionType, Reason, Status
from insitu.api.status import LocalityShare, Summary, TrainerStatus, WorkerCounts
from insitu_operator.core.decision import Step

_LONGEST = 160
_WORDS = {
    Reason.ALL_RUNNING: "Running",
    Reason.STARTING: "Starting",
    Reason.STOPPING: "Stopping",
    Reason.RESTARTING: "Restarting",
    Reason.SUSPENDED: "Suspended",
    Reason.WAITING_FOR_WORKERS: "Starting",
}


def summary(
    step: Step, workers: WorkerCounts, locality: LocalityShare, trainer: TrainerStatus | None
) -> Summary:
    """Strings only, because columns can't compute."""
    percent = trainer.progress_percentage if trainer else None
    left = trainer.estimated_remaining_seconds if trainer else None
    return Summary(
        status=_status(step),
        nodes=_nodes(workers, locality),
        progress="" if percent is None else f"{percent}%",
        eta="" if left is None or step.complete or step.failed else short_time(left),
        message=_short(step.message),
    )


def short_time(seconds: float) -> str:
    """One or two units: `45s`, `12m`, `3h05m`, `2d04h`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 120:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02d}h"


def local_share(locality: LocalityShare) -> float | None:
    """Of the whole job, as measured in bytes, or as planned in shards before anything was read;
    0 to 1.

    Of what comes from a rank's own node, only that node's own copies count.
    """
    own = 1.0 if locality.own_copies_percent is None else locality.own_copies_percent / 100
    local = locality.earlier_bytes_local + locality.bytes_local
    read = local + locality.earlier_bytes_remote + locality.bytes_remote
    if read:
        return own * local / read
    return own * locality.local / locality.shards if locality.shards else None


def explanation(status: Status) -> str:
    """Why the job is not simply running, from its conditions; empty when it is."""
    telling = (
        ConditionType.FAILED,
        ConditionType.STALLED,
        ConditionType.RECONCILING,
        ConditionType.SUSPENDED,
    )
    found = (status.condition(kind) for kind in telling if status.is_true(kind))
    return next((condition.message for condition in found if condition), "")


def _short(message: str) -> str:
    """What fits beside the other columns; the conditions have the whole of it."""
    line = message.partition("\n")[0].strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 4].rstrip() + " ..."


def _status(step: Step) -> str:
    if step.complete:
        return "Complete"
    if step.failed:
        return f"Failed: {step.doing}"
    return _WORDS.get(step.doing) or f"Waiting: {step.doing}"


def _nodes(workers: WorkerCounts, locality: LocalityShare) -> str:
    if not workers.desired:
        return ""
    share = local_share(locality)
    # Rounded down: 100 % is a promise.
    how = "" if share is None else " local" if share == 1 else f" {int(share * 100)}% local"
    return f"{workers.running + workers.succeeded}/{workers.desired}{how}"
