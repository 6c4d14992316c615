"""The whole status of a job, from what was observed and decided."""

from __future__ import annotations

from insitu.api.base import LARGEST
from insitu.api.status import (
    CheckpointStatus,
    LocalityShare,
    NodeStatus,
    Status,
    WorkerCounts,
    counted,
    shortened,
)
from insitu_operator.core.conditions import conditions
from insitu_operator.core.decision import Step
from insitu_operator.core.observed import State, Worker
from insitu_operator.core.progress import trainer_status
from insitu_operator.core.summary import summary
from insitu_operator.core.world import World

_NODES = 64
_NODE_ID = 255
"""An Ignite node's default id is the list of all its machine's addresses."""

_TEXT = 32768


def write_status(world: World, step: Step) -> Status:
    """Equal to the last one when nothing changed; the training's numbers move every few seconds."""
    before, record = world.status, world.record
    ended = step.complete or step.failed
    if ended and before.completion_time and len(world.current) < before.workers.desired:
        return _without_the_gone(world)
    last = before.trainer_status
    trainer = trainer_status(world.current, last, world.now, complete=step.complete)
    bound = step.bound or (world.generation if world.bound else 0)
    new = bool(step.bound) or bound > before.generation
    fresh = ended or new or trainer is None or trainer is not last
    counts = _counts(world)
    locality = _locality(world, bound) if fresh else before.locality
    now = world.now.replace(microsecond=0)
    return Status(
        observed_generation=world.observed.job.metadata.generation,
        conditions=before.conditions if before.completion_time else conditions(world, step),
        summary=summary(step, counts, locality, trainer),
        generation=max(before.generation, bound),
        rows=record.rows if record else None,
        restarts=min(record.crashes + record.disruptions, LARGEST) if record else 0,
        workers=counts,
        locality=locality,
        trainer_status=trainer,
        checkpoint=_checkpoint(world),
        nodes=_nodes(world, fresh=fresh),
        start_time=None if world.spec.suspend and not ended else before.start_time or now,
        completion_time=(before.completion_time or now) if ended else None,
    )


def state_of(worker: Worker) -> str:
    """One word for people; what a rank does that was asked to leave is no failure."""
    if not worker.stopping or worker.state is State.SUCCEEDED:
        return str(worker.state)
    return "Stopping" if worker.living else "Stopped"


def _without_the_gone(world: World) -> Status:
    """Of a job that has ended, when ranks of it were cleared away: what was known of them stays."""
    before, there = world.status, {w.rank: w for w in world.current}
    running = sum(w.state is State.RUNNING for w in world.current)
    nodes = [
        node.model_copy(update={"state": _last_state(node.state, there.get(node.rank))})
        for node in before.nodes
    ]
    counts = before.workers.model_copy(update={"running": running, "gated": len(world.waiting)})
    return before.model_copy(update={"workers": counts, "nodes": tuple(nodes)})


def _last_state(before: str, worker: Worker | None) -> str:
    if worker:
        return state_of(worker)
    return before if before in (State.SUCCEEDED, State.FAILED) else "Stopped"


def _counts(world: World) -> WorkerCounts:
    states = [w.state for w in world.current]
    return WorkerCounts(
        desired=world.record.plan.world_size if world.record else 0,
        gated=len(world.waiting),
        running=states.count(State.RUNNING),
        succeeded=states.count(State.SUCCEEDED),
        failed=states.count(State.FAILED),
    )


def _locality(world: World, bound: int) -> LocalityShare:
    before = world.status.locality
    if world.record is None:
        return LocalityShare()
    earlier = (before.earlier_bytes_local, before.earlier_bytes_remote)
    if bound > world.status.generation:
        earlier = (earlier[0] + before.bytes_local, earlier[1] + before.bytes_remote)
    parts, own = world.record.plan.ranks, world.record.plan.own_copies
    shards, remote = sum(len(p.shards) for p in parts), sum(len(p.remote) for p in parts)
    reports = [w.progress for w in world.current if w.progress]
    return LocalityShare(
        shards=shards,
        local=shards - remote,
        remote=remote,
        bytes_local=counted(sum(p.bytes_local for p in reports)),
        bytes_remote=counted(sum(p.bytes_remote for p in reports)),
        earlier_bytes_local=counted(earlier[0]),
        earlier_bytes_remote=counted(earlier[1]),
        # Rounded down: 100 % is a promise.
        own_copies_percent=None if own is None else int(own * 100),
    )


def _checkpoint(world: World) -> CheckpointStatus | None:
    return world.observed.commit or world.status.checkpoint


def _nodes(world: World, *, fresh: bool) -> tuple[NodeStatus, ...]:
    if world.record is None:
        return ()
    # What waits beside a generation that has been bound is no part of it.
    workers = {w.rank: w for w in world.current}
    if not world.bound:
        workers = {w.rank: w for w in world.waiting} | workers
    before = {n.rank: n for n in world.status.nodes}
    found: list[NodeStatus] = []
    for part in world.record.plan.ranks[:_NODES]:
        machine, worker = world.observed.machines.get(part.node), workers.get(part.rank)
        last = before.get(part.rank)
        rows_read = last.rows_read if last else 0
        if fresh and worker and worker.progress:
            rows_read = counted(worker.progress.rows_local + worker.progress.rows_remote)
        found.append(
            NodeStatus(
                rank=part.rank,
                database_node=shortened(part.node, _NODE_ID),
                node=(worker.machine if worker else "") or (machine.name if machine else ""),
                shards=len(part.shards),
                rows=part.weight,
                rows_read=rows_read,
                state=state_of(worker) if worker else _absent(world, part.rank),
                reason=(_reason(worker) if worker else world.vanished.get(part.rank, ""))[:_TEXT],
            )
        )
    return tuple(found)


def _absent(world: World, rank: int) -> str:
    if rank in world.vanished:
        return str(State.FAILED)
    return "Stopped" if world.bound else str(State.WAITING)


def _reason(worker: Worker) -> str:
    if worker.reason or state_of(worker) != State.FAILED or worker.exit_code is None:
        return worker.reason
    return f"exit code {worker.exit_code}"
