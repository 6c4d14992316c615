"""What a run says at its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from insitu.api import ConditionType, Reason
from insitu.checkpoint.records import Commit
from insitu_operator.core.summary import explanation, local_share, short_time
from insitu_operator.local.prepare import Prepared
from insitu_operator.local.run import Outcome


def report(
    prepared: Prepared, outcome: Outcome, commits: Sequence[Commit], took: timedelta
) -> tuple[str, ...]:
    """The end in a few lines; for a failure with its reason and where to look."""
    status, trainer = outcome.status, outcome.status.trainer_status
    lines = [f"{prepared.name}: {_state(outcome)} after {short_time(took.total_seconds())}"]
    told = explanation(status)
    if told and not outcome.interrupted:
        lines += [f"  {line}" for line in told.splitlines()]
    if trainer is not None:
        lines.append(f"  steps: {trainer.step:,}, epochs: {trainer.epoch:,}")
        if trainer.inexact_epochs:
            lines.append(f"  epochs that were not exact: {trainer.inexact_epochs}")
        lines += [f"  {metric.name}: {metric.value}" for metric in trainer.metrics]
    read = sum(node.rows_read for node in status.nodes)
    share = local_share(status.locality)
    if read and share is not None:
        lines.append(
            f"  rows read in the last generation: {read:,}; of the whole job's bytes"
            f" {int(share * 100)} % were read locally"
        )
    if status.restarts:
        lines.append(f"  restarts: {status.restarts}")
    if commits:
        steps = ", ".join(str(commit.cursor.step) for commit in commits)
        lines.append(f"  checkpoints: {prepared.store}, of steps {steps}")
    if not status.is_true(ConditionType.COMPLETE):
        lines.append(f"  logs: {prepared.folder.path / 'logs'}")
        failed = status.condition(ConditionType.FAILED)
        if commits and failed and failed.reason in (Reason.DATA_LOST, Reason.DATA_REFUSED):
            lines += [
                "  insitu run --resume goes on from the newest checkpoint, once the table is as",
                "  the message says; --fresh begins anew with the rows that are there",
            ]
        elif commits:
            lines.append("  insitu run --resume goes on from the newest checkpoint")
    return tuple(lines)


def report_json(
    prepared: Prepared, outcome: Outcome, commits: Sequence[Commit]
) -> dict[str, object]:
    """The final status, and the commits that are kept."""
    return {
        "job": prepared.name,
        "state": _state(outcome),
        "status": outcome.status.model_dump(mode="json", by_alias=True, exclude_none=True),
        "store": prepared.store,
        "commits": [commit_json(commit) for commit in commits],
        "logs": str(prepared.folder.path / "logs"),
    }


def commit_json(commit: Commit) -> dict[str, object]:
    """What a machine wants to know of a commit."""
    return {
        "seq": commit.seq,
        "step": commit.cursor.step,
        "epoch": commit.cursor.epoch,
        "rows": commit.cursor.rows,
        "generation": commit.generation,
        "time": commit.time.isoformat(),
        "bytes": sum(part.length for part in commit.parts),
    }


def _state(outcome: Outcome) -> str:
    if outcome.interrupted:
        return "Interrupted"
    return outcome.status.summary.status
