"""Starting all ranks together, or none."""

from __future__ import annotations

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
    return _created(world, record) or _preflight(world, record) or _bind(world, record)


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
    if world.older:
        actions = (DeleteWorkers(record.generation - 1), *actions)
    have = sum(rank < count for rank in set(places))
    return Step(Reason.WAITING_FOR_WORKERS, f"{have} of {count} ranks have their place", actions)


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
