"""How long a job may take: to start, to take its first step, and altogether."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from insitu.api import ConditionType, Framework, Reason
from insitu_operator.core.decision import Step
from insitu_operator.core.observed import State
from insitu_operator.core.policies.ending import failure
from insitu_operator.core.world import World


def overdue(world: World) -> Step | None:
    """The first deadline that has passed ends the job."""
    for due, end in _deadlines(world):
        if world.now >= due:
            return end()
    return None


def seconds_to_next(world: World) -> float | None:
    """Until the nearest deadline ahead, if there is one."""
    ahead = [world.seconds_until(due) for due, _ in _deadlines(world)]
    return min(ahead, default=None)


def _deadlines(world: World) -> list[tuple[datetime, Callable[[], Step]]]:
    each = (_active(world), _start(world), _first_step(world))
    return [deadline for deadline in each if deadline is not None]


def _active(world: World) -> tuple[datetime, Callable[[], Step]] | None:
    limit, since = world.spec.active_deadline_seconds, world.status.start_time
    if limit is None or since is None:
        return None
    message = f"the job was active for {limit} s"
    return since + timedelta(seconds=limit), lambda: failure(
        world, Reason.ACTIVE_DEADLINE_EXCEEDED, message
    )


def _start(world: World) -> tuple[datetime, Callable[[], Step]] | None:
    """Counts whenever not all ranks run: from the start, a resumption, or the loss of one."""
    limit, started = world.spec.start_deadline_seconds, world.status.start_time
    running = world.status.condition(ConditionType.RUNNING)
    if limit is None or started is None or running is None or all_running(world):
        return None
    if world.status.is_true(ConditionType.RUNNING):
        return None
    since = max(started, running.last_transition_time)
    waiting_for = f"{running.reason}: {running.message}" if running.message else running.reason
    message = f"not all ranks were running after {limit} s. The job was waiting for {waiting_for}"
    return since + timedelta(seconds=limit), lambda: failure(
        world, Reason.START_DEADLINE_EXCEEDED, message
    )


def _first_step(world: World) -> tuple[datetime, Callable[[], Step]] | None:
    """Only where a heartbeat has come: a silent network is no proof of an idle script."""
    if world.spec.trainer.framework is Framework.NONE or not all_running(world):
        return None
    stepped = any(w.progress and w.progress.state != "starting" for w in world.current)
    running = world.status.condition(ConditionType.RUNNING)
    if stepped or running is None or not any(w.heard for w in world.current):
        return None
    if (
        not world.status.is_true(ConditionType.RUNNING)
        or world.status.generation < world.generation
    ):
        return None  # It runs since this very moment.
    limit = world.spec.failure_policy.first_step_deadline_seconds
    message = f"all ranks have been running for {limit} s, and the script took no step"
    return running.last_transition_time + timedelta(seconds=limit), lambda: failure(
        world, Reason.FIRST_STEP_DEADLINE_EXCEEDED, message
    )


def all_running(world: World) -> bool:
    """Every rank of the plan runs, or has ended its work."""
    good = {w.rank for w in world.current if w.state in (State.RUNNING, State.SUCCEEDED)}
    return world.record is not None and len(good) == world.record.plan.world_size
