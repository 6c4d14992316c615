"""All conditions of a job, from the facts and from what was decided."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from insitu.api import Condition, ConditionStatus, ConditionType, Reason, Status
from insitu_operator.core.decision import Step
from insitu_operator.core.policies.deadlines import all_running
from insitu_operator.core.policies.planning import orphans_message
from insitu_operator.core.world import World

STALLING = frozenset({Reason.ACCESS_DENIED, Reason.SOURCE_INVALID, Reason.PLAN_IMPOSSIBLE})
"""What a job waits for in vain, unless somebody changes something."""


class _Fact(NamedTuple):
    status: ConditionStatus
    reason: Reason
    message: str = ""


def conditions(world: World, step: Step) -> tuple[Condition, ...]:
    """One of each type. `lastTransitionTime` moves only when `status` does."""
    facts = {
        ConditionType.TOPOLOGY_RESOLVED: _topology(world),
        ConditionType.PLANNED: _planned(world, step),
        ConditionType.PODS_SCHEDULED: _scheduled(world, step),
        ConditionType.RUNNING: _running(world, step),
        ConditionType.SUSPENDED: _suspended(world, step),
        **_ends(step),
        **_kstatus(world, step),
    }
    now = world.now.replace(microsecond=0)
    generation = world.observed.job.metadata.generation
    return tuple(
        _condition(kind, facts[kind], world.status, now, generation) for kind in ConditionType
    )


def _condition(
    kind: ConditionType, fact: _Fact, before: Status, now: datetime, generation: int
) -> Condition:
    old = before.condition(kind)
    return Condition(
        type=kind,
        status=fact.status,
        reason=fact.reason,
        message=fact.message[:32768],
        last_transition_time=old.last_transition_time if old and old.status is fact.status else now,
        observed_generation=generation,
    )


def _topology(world: World) -> _Fact:
    unread, reading = world.observed.unread, world.observed.reading
    if unread:
        message = unread.message
        if world.living:
            message += f". The ranks go on with the plan of generation {world.generation}"
        known = unread.reason is not Reason.DATABASE_UNAVAILABLE
        return _Fact(_no(known), unread.reason, message)
    if reading is None:
        return _Fact(ConditionStatus.UNKNOWN, Reason.TOPOLOGY_PENDING)
    topology = reading.topology
    if topology.orphans:
        return _Fact(_no(), Reason.PARTITIONS_LOST, orphans_message(topology.orphans))
    if world.missing_rows:
        return _Fact(_no(), Reason.ROWS_MISSING, world.missing_rows)
    left = world.unsettled_for
    if left is not None and (world.record is None or world.misfit):
        return _Fact(_no(), Reason.SHARDS_MOVING, f"{len(topology.moving)} shards are moving")
    rows = "" if topology.rows is None else f", {topology.rows} rows"
    return _Fact(
        ConditionStatus.TRUE,
        Reason.TOPOLOGY_READ,
        f"{len(topology.nodes)} database nodes, {len(topology.shards)} shards{rows}",
    )


def _planned(world: World, step: Step) -> _Fact:
    if world.record is None:
        if step.doing is Reason.PLAN_IMPOSSIBLE:
            return _Fact(_no(), step.doing, step.message)
        return _Fact(_no(), Reason.WAITING_FOR_TOPOLOGY)
    if world.misfit:
        return _Fact(_no(), Reason.PLAN_OUT_OF_DATE, world.misfit)
    plan = world.record.plan
    message = f"generation {plan.generation}: {plan.world_size} ranks"
    return _Fact(ConditionStatus.TRUE, Reason.PLAN_RECORDED, "; ".join((message, *plan.notes[:10])))


def _scheduled(world: World, step: Step) -> _Fact:
    if world.bound and world.current and not world.broken:
        out = [w for w in world.current if not w.placed]
        if not out:
            return _Fact(ConditionStatus.TRUE, Reason.ALL_BOUND)
        said = [f"rank {w.rank}: {w.reason}" for w in out if w.reason][:5]
        message = f"{len(out)} of {len(world.current)} ranks have no machine yet"
        return _Fact(_no(), Reason.STARTING, "; ".join((message, *said)))
    return _Fact(_no(), step.doing, step.message)


def _running(world: World, step: Step) -> _Fact:
    if step.doing is Reason.ALL_RUNNING or (all_running(world) and not step.complete):
        return _Fact(ConditionStatus.TRUE, Reason.ALL_RUNNING)
    return _Fact(_no(), step.doing, step.message)


def _suspended(world: World, step: Step) -> _Fact:
    if step.doing is Reason.SUSPENDED:
        return _Fact(ConditionStatus.TRUE, Reason.SUSPENDED, step.message)
    if step.doing is Reason.STOPPING and (world.spec.suspend or world.suspending):
        return _Fact(_no(), Reason.STOPPING, step.message)
    return _Fact(_no(), Reason.NOT_SUSPENDED)


def _ends(step: Step) -> dict[ConditionType, _Fact]:
    yes, no = ConditionStatus.TRUE, _no()
    complete, failed = _Fact(no, Reason.NOT_FINISHED), _Fact(no, Reason.NOT_FAILED)
    finished = _Fact(no, Reason.NOT_FINISHED)
    if step.complete:
        complete = finished = _Fact(yes, Reason.SUCCEEDED, step.message)
    elif step.failed:
        complete = _Fact(no, Reason.FAILED)
        failed, finished = _Fact(yes, step.doing, step.message), _Fact(yes, Reason.FAILED)
    return {
        ConditionType.COMPLETE: complete,
        ConditionType.FAILED: failed,
        ConditionType.FINISHED: finished,
    }


def _kstatus(world: World, step: Step) -> dict[ConditionType, _Fact]:
    """Tools that follow kstatus take Reconciling for "in progress" and Stalled for "failed"."""
    stalled = step.failed or (step.doing in STALLING and not world.living)
    settled = stalled or step.complete or step.doing in (Reason.ALL_RUNNING, Reason.SUSPENDED)
    fact = _Fact(ConditionStatus.TRUE, step.doing, step.message)
    off = _Fact(_no(), step.doing)
    return {
        ConditionType.RECONCILING: off if settled else fact,
        ConditionType.STALLED: fact if stalled else off,
    }


def _no(known: bool = True) -> ConditionStatus:
    return ConditionStatus.FALSE if known else ConditionStatus.UNKNOWN
