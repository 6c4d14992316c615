"""The two ends of a job, and what is left to do after them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from insitu.api import ConditionType, Reason
from insitu_operator.core.decision import Action, CreateWorkers, DeleteJob, Step, StopWorkers
from insitu_operator.core.observed import State, Worker
from insitu_operator.core.progress import newest
from insitu_operator.core.world import World


def finished(world: World) -> Step | None:
    """A job that has ended never starts again: what still lives is stopped, then its time runs."""
    ended = world.status.condition(ConditionType.FINISHED)
    if ended is None or not world.status.is_true(ConditionType.FINISHED):
        return None
    # Somebody else may have written a status that does not say whether it failed.
    failed = world.status.condition(ConditionType.FAILED) or ended
    complete = world.status.is_true(ConditionType.COMPLETE)
    actions = clear_out(world, "the job has ended")
    # Their end is in the status by now, which outlives the pods that a sidecar keeps.
    actions = (*actions, *_stop(lingering(world), world.grace_seconds, "the trainer has ended"))
    remaining = time_to_live(world)
    if remaining == 0.0:
        remaining = None  # The last rank to leave, or the deletion, is an event of its own.
        if not world.living:
            actions = (*actions, DeleteJob())
    return Step(
        doing=Reason.SUCCEEDED if complete else failed.reason,
        message="" if complete else failed.message,
        actions=actions,
        requeue_after=remaining,
        failed=not complete,
        complete=complete,
    )


def completed(world: World) -> Step | None:
    """Every rank of the current generation ended its work."""
    record = world.record
    if record is None:
        return None
    done = {w.rank for w in world.current if w.state is State.SUCCEEDED}
    if len(done) < record.plan.world_size or world.living:
        return None
    return Step(
        doing=Reason.SUCCEEDED,
        message=f"all {record.plan.world_size} ranks ended their work{_early(world)}",
        complete=True,
    )


def _early(world: World) -> str:
    """Says it where a script ended its training before the epochs were over, as it may."""
    progress = newest(world.current)
    if progress is None or progress.state != "done" or progress.epochs is None:
        return ""  # Not the last word.
    if progress.epoch >= progress.epochs:
        return ""
    return f": their script left after {progress.epoch} of {progress.epochs} epochs"


def failure(world: World, reason: Reason, message: str) -> Step:
    """The end of a job that can't go on; what lives is asked to leave."""
    return Step(doing=reason, message=message, actions=clear_out(world, str(reason)), failed=True)


def clear_out(world: World, why: str) -> tuple[Action, ...]:
    """Stops what lives and was not asked yet, and takes the waiting places away."""
    actions: list[Action] = list(stop(world, world.grace_seconds, why))
    if world.waiting:
        actions.append(CreateWorkers(0))
    return tuple(actions)


def lingering(world: World) -> tuple[Worker, ...]:
    """Pods that a sidecar keeps after the trainer's end, once no other rank lives."""
    found = (w for w in world.current if w.lingering and not w.stopping)
    return () if world.living else tuple(found)


def stop(world: World, grace_seconds: float, why: str) -> tuple[StopWorkers, ...]:
    """One action for all that live, of whatever generation; none if all have been asked."""
    return _stop(world.living, grace_seconds, why)


def _stop(workers: Iterable[Worker], grace_seconds: float, why: str) -> tuple[StopWorkers, ...]:
    unasked = [w.generation or 0 for w in workers if not w.stopping]
    return (StopWorkers(max(unasked), grace_seconds, why),) if unasked else ()


def time_to_live(world: World) -> float | None:
    """Seconds until a job that has ended is deleted; None for one that stays or has not ended."""
    ttl, ended = world.spec.ttl_seconds_after_finished, world.status.completion_time
    if ttl is None or ended is None:
        return None
    return world.seconds_until(ended + timedelta(seconds=ttl))
