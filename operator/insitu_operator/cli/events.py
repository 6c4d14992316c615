"""What happened between two passes of a run, as a person and a machine read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from insitu.api.status import TrainerStatus
from insitu_operator.cli.plan_table import plan_json, plan_lines
from insitu_operator.core.decision import RecordPlan
from insitu_operator.core.observed import Worker
from insitu_operator.core.status import state_of
from insitu_operator.core.summary import explanation, short_time
from insitu_operator.local.run import Snapshot

INTERRUPTED = "interrupted: the ranks write a checkpoint and leave; a second signal kills them"


@dataclass(frozen=True)
class Event:
    """`kind` is one of job, plan, worker, progress, checkpoint, interrupt and end.

    `lines` are for people, `data` for machines.
    """

    kind: str
    at: datetime
    lines: tuple[str, ...]
    data: Mapping[str, object]


def changes(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    """Everything that is new in `now`, in the order in which it follows."""
    if now.interrupted and not (before and before.interrupted):
        yield Event("interrupt", now.at, (INTERRUPTED,), {})
    yield from _plan(now)
    yield from _workers(before, now)
    yield from _job(before, now)
    yield from _checkpoint(before, now)
    yield from _progress(before, now)


def _plan(now: Snapshot) -> Iterator[Event]:
    for action in now.actions:
        if isinstance(action, RecordPlan):
            reading = now.observed.reading
            assert reading is not None
            plan = action.record.plan
            because = f", after {action.record.headline}" if action.record.cause else ""
            head = f"plan of generation {plan.generation}: {plan.world_size} ranks{because}"
            yield Event(
                "plan",
                now.at,
                (head, *(f"  {x}" for x in plan_lines(plan, reading.topology))),
                {**plan_json(plan, reading.topology), "cause": action.record.cause},
            )


def _workers(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    seen = {_key(w): state_of(w) for w in before.observed.workers} if before else {}
    for worker in now.observed.workers:
        state = state_of(worker)
        if worker.generation is None or seen.get(_key(worker)) == state:
            continue
        pid, node = now.pids.get(worker.rank), _node(now, worker)
        where = f" beside {node}" if node else ""
        ended = f" (exit code {worker.exit_code})" if worker.exit_code else ""
        process = f" (process {pid})" if pid and state == "Running" else ""
        yield Event(
            "worker",
            now.at,
            (f"rank {worker.rank}{where}: {state}{ended}{process}",),
            {
                "rank": worker.rank,
                "generation": worker.generation,
                "databaseNode": node,
                "state": state,
                "pid": pid,
                "exitCode": worker.exit_code,
            },
        )


def _job(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    message = explanation(now.status)
    if before and (before.status.summary.status, explanation(before.status)) == (
        now.status.summary.status,
        message,
    ):
        return
    text = now.status.summary.status + (f": {message}" if message else "")
    yield Event(
        "job",
        now.at,
        tuple(text.splitlines()),
        {
            "status": now.status.summary.status,
            "message": message,
            "generation": now.status.generation,
            "restarts": now.status.restarts,
        },
    )


def _checkpoint(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    commit = now.status.checkpoint
    if commit is None or (before and before.status.checkpoint == commit):
        return
    # People read of it in the progress; a line for each would drown everything else.
    yield Event("checkpoint", now.at, (), {"step": commit.step, "uri": commit.uri})


def _progress(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    trainer = now.status.trainer_status
    if trainer is None or (before and before.status.trainer_status == trainer):
        return
    commit = now.status.checkpoint
    kept = f", checkpoint of step {commit.step}" if commit else ""
    yield Event(
        "progress",
        now.at,
        (progress_line(trainer) + kept,),
        trainer.model_dump(mode="json", by_alias=True, exclude_none=True),
    )


def progress_line(trainer: TrainerStatus) -> str:
    """`45%, epoch 3, step 120, 3,000 rows/s, loss 0.12, 12m left`."""
    parts = [f"epoch {trainer.epoch}", f"step {trainer.step}"]
    if trainer.progress_percentage is not None:
        parts.insert(0, f"{trainer.progress_percentage}%")
    if trainer.rows_per_second:
        parts.append(f"{trainer.rows_per_second:,} rows/s")
    parts += [f"{metric.name} {metric.value}" for metric in trainer.metrics]
    if trainer.estimated_remaining_seconds:
        parts.append(f"{short_time(trainer.estimated_remaining_seconds)} left")
    return ", ".join(parts)


def _key(worker: Worker) -> tuple[int, int | None]:
    return worker.rank, worker.generation


def _node(snapshot: Snapshot, worker: Worker) -> str | None:
    record = snapshot.observed.record
    if record is None or record.generation != worker.generation:
        return None
    return next((p.node for p in record.plan.ranks if p.rank == worker.rank), None)
