"""Starting all ranks together, or none."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from insitu.api import Reason
from insitu_operator.core.decision import (
    Action,
    BindWorkers,
    CreateWorkers,
    DeleteWorkers,
    Step,
)
from insitu_operator.core.observed import State
from insitu_operator.core.policies.ending import stop
from insitu_operator.core.policies.planning import not_ready, plan_next
from insitu_operator.core.record import Record
from insitu_operator.core.world import World

RETRY_SECONDS = 30.0
"""Room on a machine may come without anybody telling."""


UNPLACED_SECONDS = 30.0
"""How long some ranks may hold their machines while another one of them finds no room."""

_FIRST_PAUSE_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 160.0


def taken_back(world: World) -> Step | None:
    """A rank finds no room: the others give theirs back, and all wait, as a new generation.

    Else two jobs that each hold a part of what both need would wait for each other for ever. It
    counts as no crash and no disruption. The record comes first, so that the end of these ranks is
    known for what it is.
    """
    record, due = world.record, unplaced_until(world)
    if record is None or due is None or world.now < due or not_ready(world):
        return None
    stuck = [w for w in world.current if w.unschedulable_since]
    said = "; ".join(f"rank {w.rank}: {w.reason}" for w in stuck[:3])
    cause = f"not all ranks found room within {UNPLACED_SECONDS:.0f} s ({said})"
    return plan_next(world, cause=cause, unplaced=record.unplaced + 1)


def unplaced_until(world: World) -> datetime | None:
    """Until when the ranks that have a machine keep it; None where nobody waits in vain."""
    since = [w.unschedulable_since for w in world.current if w.unschedulable_since]
    holds = any(w.placed for w in world.current if w.living)
    if not (since and holds and world.bound) or world.broken:
        return None
    return min(since) + timedelta(seconds=UNPLACED_SECONDS)


def pause_seconds(uid: str, times: int) -> float:
    """Before ranks that were taken back so often in a row are started again.

    It differs from job to job, so that two that were in each other's way do not meet again, and
    grows. It is the same for whoever computes it.
    """
    if times <= 0:
        return 0.0
    base = min(_FIRST_PAUSE_SECONDS * 2 ** min(times - 1, 10), _LONGEST_PAUSE_SECONDS)
    digest = hashlib.sha256(f"{uid}/{times}".encode()).digest()
    return float(base) * (0.5 + int.from_bytes(digest[:4], "big") / 2**32)


def started(world: World) -> Step | None:
    """From no plan to all ranks bound; None once they are."""
    record = world.record
    if strangers := tuple(w for w in world.living if w.generation != world.generation):
        return Step(
            Reason.STOPPING,
            f"{len(strangers)} ranks of another generation are leaving",
            stop(world, world.grace_seconds, f"generation {world.generation} is the current one"),
        )
    if record is None:
        return plan_next(world)
    if world.bound:
        return (
            None
            if world.current
            else plan_next(world, cause=f"all ranks of generation {world.generation} had left")
        )
    if wait := not_ready(world):
        return wait
    if world.misfit:
        return _too_late(world)
    return (
        _created(world, record)
        or _held(world, record)
        or _preflight(world, record)
        or _bind(world, record)
    )


def _too_late(world: World) -> Step:
    """The topology changed between the plan and the start."""
    if world.living:
        actions = stop(world, world.grace_seconds, world.misfit)
        return Step(Reason.STOPPING, f"half started: {world.misfit}", actions)
    return plan_next(world, cause=world.misfit)


def _created(world: World, record: Record) -> Step | None:
    """An older worker that can't be cleared away holds up nothing, unless it takes up a place."""
    count = record.plan.world_size
    places = sorted(w.rank for w in (*world.waiting, *world.current))
    if places == list(range(count)):
        return None
    actions: tuple[Action, ...] = (CreateWorkers(count),)
    if record.generation > 1:
        # Also where no worker of it is left: what held their places would stay for ever.
        actions = (DeleteWorkers(record.generation - 1), *actions)
    have = sum(rank < count for rank in set(places))
    return Step(Reason.WAITING_FOR_WORKERS, f"{have} of {count} ranks have their place", actions)


def _held(world: World, record: Record) -> Step | None:
    pause = pause_seconds(world.observed.job.metadata.uid, record.unplaced)
    # A clock that was set back makes nobody wait longer than that.
    left = min(pause, world.seconds_until(record.at + timedelta(seconds=pause)))
    if left <= 0:
        return None
    message = f"all ranks wait for {pause:.0f} s, after {record.headline}"
    return Step(Reason.MACHINE_NOT_READY, message, requeue_after=left)


def _preflight(world: World, record: Record) -> Step | None:
    problems: list[str] = []
    for part in record.plan.ranks:
        machine = world.observed.machines.get(part.node)
        if machine is None:
            problems.append(f"the machine of database node {part.node} is not known")
        elif machine.problem:
            where = f"database node {part.node}"
            where = f"{machine.name} ({where})" if machine.name else where
            problems.append(f"{where}: {machine.problem}")
    problems += [f"rank {w.rank}: {w.reason}" for w in world.waiting if w.reason]
    if not problems:
        return None
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    message = "; ".join(problems[:5]) + more
    return Step(Reason.MACHINE_NOT_READY, message, requeue_after=RETRY_SECONDS)


def _bind(world: World, record: Record) -> Step:
    starting = sum(w.state is State.STARTING for w in world.current)
    return Step(
        Reason.STARTING,
        f"generation {record.generation}: starting {record.plan.world_size - starting} ranks",
        (BindWorkers(record.generation),),
        bound=record.generation,
    )
