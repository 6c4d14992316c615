"""What to do about a job: a pure function of what is known and the time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from insitu.api import CONTROLLER, Reason
from insitu_operator.core.decision import Decision, Step
from insitu_operator.core.observed import Observed, State
from insitu_operator.core.policies.change import topology_changed
from insitu_operator.core.policies.deadlines import all_running, overdue, seconds_to_next
from insitu_operator.core.policies.ending import completed, finished, lingering, time_to_live
from insitu_operator.core.policies.gang import started, taken_back, unplaced_until
from insitu_operator.core.policies.loss import CONFIRM_SECONDS, rows_lost
from insitu_operator.core.policies.restart import restarted
from insitu_operator.core.policies.suspension import suspended
from insitu_operator.core.progress import withheld_for
from insitu_operator.core.status import write_status
from insitu_operator.core.world import World

REFUSED_SECONDS = 5.0
"""Until what the API server refused is tried again: rights, quota or a rule may have changed."""


def reconcile(observed: Observed, now: datetime) -> Decision:
    """The next actions, the whole status, and when to look again without a new observation."""
    manager = observed.job.spec.managed_by
    if manager not in (None, CONTROLLER):
        return Decision((), observed.job.status)
    world = World(observed, now)
    step = next(step for policy in _POLICIES if (step := policy(world)) is not None)
    if observed.refused and step.actions:
        step = (_impossible if observed.refused_for_good else _refused)(step, observed.refused)
    status = write_status(world, step)
    # Deadlines count from times that only the new status may have.
    written = replace(observed, job=observed.job.model_copy(update={"status": status}))
    requeue_after = _requeue(World(written, now), step)
    if status.completion_time and not observed.job.status.completion_time:
        # The pass that ends a job may be the last one that any event asks for.
        requeue_after = _sooner(
            requeue_after, time_to_live(World(written, now)), 0.0 if lingering(world) else None
        )
    return Decision(step.actions, status, requeue_after)


def _running(world: World) -> Step:
    """Nothing to do but to watch."""
    if leaving := sum(w.living and w.stopping for w in world.current):
        return Step(Reason.STOPPING, f"{leaving} ranks are leaving")
    if all_running(world):
        return Step(Reason.ALL_RUNNING, requeue_after=world.unsettled_for if world.misfit else None)
    ready = sum(w.state is not State.STARTING for w in world.current)
    parts = [f"{ready} of {len(world.current)} ranks are running"]
    on = {n.rank: f" on {n.node}" for n in world.status.nodes if n.node}
    parts += [f"rank {w.rank}{on.get(w.rank, '')}: {w.reason}" for w in world.current if w.reason]
    return Step(Reason.STARTING, "; ".join(parts[:6]))


_POLICIES = (
    finished,  # an end is final
    completed,  # even when the deadline passed in the same moment
    suspended,  # a held job neither fails nor starts
    overdue,
    rows_lost,
    restarted,  # a generation that broke
    taken_back,  # a generation that found room for some of its ranks only
    topology_changed,  # a generation that runs
    started,  # a generation that has yet to start
    _running,
)


def _refused(step: Step, refused: str) -> Step:
    """The same once more, in a while; nothing counts as done until it is."""
    again = replace(step, bound=None, requeue_after=REFUSED_SECONDS)
    if step.failed or step.complete:
        return again
    message = f"{refused}. It is tried again: {step.message}"
    doing = step.doing if step.doing is Reason.SUSPENDED else Reason.KUBERNETES_REFUSED
    return replace(again, doing=doing, message=message)


def _impossible(step: Step, refused: str) -> Step:
    """At rest: another topology or another spec is news, and looked at when it comes."""
    again = replace(step, bound=None, requeue_after=None)
    if step.failed or step.complete:
        return again
    doing = step.doing if step.doing is Reason.SUSPENDED else Reason.PLAN_IMPOSSIBLE
    return replace(again, doing=doing, message=refused)


def _requeue(world: World, step: Step) -> float | None:
    times = [step.requeue_after]
    times += [world.seconds_until(w.lost_at) for w in world.observed.workers if w.lost_at]
    if due := unplaced_until(world):
        times.append(world.seconds_until(due) or REFUSED_SECONDS)
    times.append(withheld_for(world.current, world.status.trainer_status, world.now))
    if not (step.failed or step.complete or world.spec.suspend):
        times.append(seconds_to_next(world))
        if world.missing_rows:
            times.append(CONFIRM_SECONDS)
    return _sooner(*times)


def _sooner(*times: float | None) -> float | None:
    return min((t for t in times if t is not None), default=None)
