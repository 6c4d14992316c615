"""`spec.failurePolicy`: a rank ended early, so all of them have to start again, or give up.

A generation ends in one of three ways:
- refused: a trainer said that trying again would not help. The job fails at once.
- crash: the script ended by itself with a code of its own, or by a signal. At most
  `backoffLimit` of them over the whole job, with growing pauses.
- disruption: a database node, another rank, a machine or the checkpoint store went away, or the
  plan had become out of date. At most `disruptionLimit` in a row without a new commit; the first
  restarts at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from insitu.api import ConditionType, OnTopologyChange, Reason
from insitu.errors import ExitCode
from insitu_operator.core.decision import Step
from insitu_operator.core.observed import State, Worker
from insitu_operator.core.policies.ending import failure, stop
from insitu_operator.core.policies.planning import not_ready, plan_next
from insitu_operator.core.record import LAST_LINES
from insitu_operator.core.world import World

LINGER_SECONDS = 5.0
"""For the other ranks to notice and leave by themselves, so that the first cause is seen."""

BROKEN_GRACE_SECONDS = 10.0
"""For a rank whose generation is broken: there is no step left that it could commit."""

LONGEST_BACKOFF_SECONDS = 60.0

_REFUSED = {
    ExitCode.CONFIGURATION: Reason.CONFIGURATION_REFUSED,
    ExitCode.DATA: Reason.DATA_REFUSED,
}
_DISRUPTED = {
    ExitCode.DATABASE_UNAVAILABLE: "could not reach the database",
    ExitCode.STORE: "could not use the checkpoint store",
    ExitCode.PEER_LOST: "lost another rank",
    ExitCode.STALE_GENERATION: "met a newer generation",
    ExitCode.NOT_OWNER: "read from a database node that no longer owns its shards",
    ExitCode.LEFT: "was told to leave, but not by Insitu",
}


def restarted(world: World) -> Step | None:
    """From the first rank that ended early to the record of the next generation."""
    if not world.broken:
        return None
    culprit = first_cause(world.current)
    cause = describe(culprit, world) if culprit else world.misfit or _vanished(world)
    if culprit and culprit.exit_code in _REFUSED and not culprit.disrupted:
        return failure(world, _REFUSED[ExitCode(culprit.exit_code)], cause)
    return _wind_down(world, cause) or _next_generation(world, culprit, cause)


def first_cause(workers: tuple[Worker, ...]) -> Worker | None:
    """The failed worker that explains the others: refused before crashed before disrupted.

    None when all of them only did as they were told.
    """
    failed = [w for w in workers if w.state is State.FAILED and not w.stopping]
    return min(failed, key=_order, default=None)


def describe(worker: Worker, world: World) -> str:
    """How a rank ended, with its last lines."""
    assert world.record is not None
    node = next(p.node for p in world.record.plan.ranks if p.rank == worker.rank)
    text = f"rank {worker.rank} beside {node} {_how(worker)}"
    if worker.last_lines:
        text += LAST_LINES + "\n".join(f"    {line}" for line in worker.last_lines)
    return text


def backoff_seconds(count: int) -> float:
    """Pause before the restart after failure number `count`: 1, 2, 4, ... 60 s."""
    return float(min(2 ** min(count - 1, 10), LONGEST_BACKOFF_SECONDS)) if count > 0 else 0.0


def _wind_down(world: World, cause: str) -> Step | None:
    if not world.living:
        return None
    ends = [w.ended_at for w in world.current if w.ended_at]
    linger = world.seconds_until(min(ends) + timedelta(seconds=LINGER_SECONDS)) if ends else 0.0
    if linger > 0:
        return Step(Reason.RESTARTING, cause, requeue_after=linger)
    grace = min(world.grace_seconds, BROKEN_GRACE_SECONDS)
    return Step(Reason.RESTARTING, cause, stop(world, grace, "another rank ended early"))


def _next_generation(world: World, culprit: Worker | None, cause: str) -> Step:
    """All have ended. The verdict needs a reading of the database from after that."""
    record, policy = world.record, world.spec.failure_policy
    assert record is not None
    ended = max((w.ended_at for w in world.current if w.ended_at), default=_noticed(world))
    if wait := not_ready(world, after=ended):
        return Step(
            Reason.RESTARTING if wait.doing is Reason.TOPOLOGY_PENDING else wait.doing,
            f"{wait.message}, after {cause}",
            requeue_after=wait.requeue_after,
        )
    if world.misfit and world.spec.placement.on_topology_change is OnTopologyChange.FAIL:
        return failure(world, Reason.TOPOLOGY_CHANGED, f"{world.misfit}; {cause}")
    crashed = culprit is not None and _crashed(culprit) and not world.misfit
    if crashed:
        crashes = record.crashes + 1
        if crashes > policy.backoff_limit:
            return failure(
                world,
                Reason.BACKOFF_LIMIT_EXCEEDED,
                f"crash {crashes} is one more than backoffLimit {policy.backoff_limit} allows:"
                f" {cause}",
            )
        return _pause(world, ended, backoff_seconds(crashes), cause) or plan_next(
            world, cause=cause, after=ended, crashes=1
        )
    commit = world.observed.commit
    fruitless = (record.fruitless if commit is None or commit.step <= record.step else 0) + 1
    if fruitless > policy.disruption_limit:
        return failure(
            world,
            Reason.DISRUPTION_LIMIT_EXCEEDED,
            f"{fruitless} disruptions in a row without a new commit, more than disruptionLimit"
            f" {policy.disruption_limit} allows: {cause}",
        )
    return _pause(world, ended, backoff_seconds(fruitless - 1), cause) or plan_next(
        world, cause=cause, after=ended, disruptions=1, fruitless=fruitless
    )


def _noticed(world: World) -> datetime:
    """When ranks were first found to be gone that left nothing behind."""
    running = world.status.condition(ConditionType.RUNNING)
    if running is None or world.status.is_true(ConditionType.RUNNING):
        return world.now
    return running.last_transition_time


def _pause(world: World, ended: datetime, seconds: float, cause: str) -> Step | None:
    left = world.seconds_until(ended + timedelta(seconds=seconds))
    if left <= 0:
        return None
    return Step(
        Reason.RESTARTING,
        f"pausing {seconds:.0f} s, after {cause}",
        requeue_after=left,
    )


def _crashed(worker: Worker) -> bool:
    return not worker.disrupted and worker.exit_code not in _DISRUPTED


def _order(worker: Worker) -> tuple[int, int, float, int]:
    refused = worker.exit_code in _REFUSED and not worker.disrupted
    grade = 0 if refused else 1 if _crashed(worker) else 2
    echo = worker.exit_code in (ExitCode.PEER_LOST, ExitCode.STALE_GENERATION)
    when = worker.ended_at.timestamp() if worker.ended_at else 0.0
    return grade, int(echo), when, worker.rank


def _how(worker: Worker) -> str:
    code = worker.exit_code
    if worker.disrupted or code is None:
        return f"was lost ({worker.reason})" if worker.reason else "was lost"
    if code in _DISRUPTED:
        return f"{_DISRUPTED[ExitCode(code)]} (exit code {code})"
    if code in _REFUSED:
        return f"refused to go on (exit code {code})"
    ended = f"was killed by signal {code - 128} (exit code {code})" if code > 128 else ""
    ended = ended or f"ended with exit code {code}"
    return f"{ended}: {worker.reason}" if worker.reason else ended


def _vanished(world: World) -> str:
    """With what was last said of the ranks that left nothing behind."""
    lost = world.vanished
    if not lost:
        return _told_to_leave(world)
    said = [f"rank {rank} vanished ({why})" for rank, why in lost.items() if why]
    if not said and len(lost) == world.status.workers.desired:
        return "all ranks vanished"
    return "; ".join((said or [f"rank {rank} vanished" for rank in lost])[:5])


def _told_to_leave(world: World) -> str:
    """Of ranks that neither failed nor vanished without a word."""
    there = {w.rank for w in world.current if w.stopping and w.ended}
    gone = {n.rank for n in world.status.nodes if n.state in ("Stopping", "Stopped")}
    # Once the others were stopped as well, nothing tells them from those that left before.
    ranks = sorted(there or gone)
    if not ranks:
        return "the ranks were told to leave"
    on = {n.rank: f" on {n.node}" for n in world.status.nodes if n.node}
    named = ", ".join(f"{rank}{on.get(rank, '')}" for rank in ranks[:5])
    more = f" and {len(ranks) - 5} more" if len(ranks) > 5 else ""
    which = "rank" if len(ranks) == 1 else "ranks"
    return f"{which} {named}{more} left: somebody deleted a pod, or scaled the ranks' Job down"
