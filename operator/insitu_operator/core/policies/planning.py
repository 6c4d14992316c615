"""When a new plan may be made, and making it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from insitu.api import Reason
from insitu.errors import InsituError
from insitu.topology import ShardId
from insitu_operator.core.decision import Action, CreateWorkers, DeleteWorkers, RecordPlan, Step
from insitu_operator.core.planner import plan
from insitu_operator.core.planner.names import named
from insitu_operator.core.record import Record
from insitu_operator.core.world import World

ASK_SECONDS = 1.0
"""A new reading that says the same as the one before is no news, so it is looked for."""


def not_ready(world: World, after: datetime | None = None) -> Step | None:
    """What a new plan has to wait for: a settled reading that began later than `after`."""
    if world.observed.unread:
        return Step(world.observed.unread.reason, world.observed.unread.message)
    topology = world.topology
    if topology is None:
        return Step(Reason.TOPOLOGY_PENDING, "the database is being asked who owns which shard")
    if topology.orphans:
        return Step(Reason.PARTITIONS_LOST, orphans_message(topology.orphans))
    if not topology.nodes:
        return Step(Reason.DATABASE_UNAVAILABLE, "the database has no live node that holds data")
    if world.missing_rows:
        return Step(Reason.ROWS_MISSING, f"{world.missing_rows}; counting once more")
    if left := world.unsettled_for:
        return Step(
            Reason.SHARDS_MOVING,
            f"{len(topology.moving)} shards are moving; waiting up to {left:.0f} s for them",
            requeue_after=left,
        )
    if not world.read_since(after):
        message = "the database is being asked again"
        return Step(Reason.TOPOLOGY_PENDING, message, requeue_after=ASK_SECONDS)
    return None


def plan_next(
    world: World,
    *,
    cause: str = "",
    after: datetime | None = None,
    crashes: int = 0,
    disruptions: int = 0,
    fruitless: int | None = None,
    unplaced: int = 0,
) -> Step:
    """The next generation, by the topology of this moment; waits for what that needs.

    `crashes` and `disruptions` are added to the job's counts; `fruitless` None leaves it.
    While ranks live only the plan is recorded: they leave before others are made.
    """
    if wait := not_ready(world, after):
        return wait
    topology, before = world.topology, world.record
    assert topology is not None
    try:
        made = plan(
            topology,
            generation=max(world.highest, world.observed.committed_generation) + 1,
            locality=str(world.spec.placement.locality),
            previous=before.plan if before else None,
            max_ranks=world.spec.placement.max_ranks,
            eligible=None,
        )
    except InsituError as problem:
        return Step(Reason.PLAN_IMPOSSIBLE, str(problem))
    record = Record(
        plan=made,
        at=world.now,
        rows=before.rows if before and before.rows is not None else topology.rows,
        crashes=(before.crashes if before else 0) + crashes,
        disruptions=(before.disruptions if before else 0) + disruptions,
        fruitless=(before.fruitless if before else 0) if fruitless is None else fruitless,
        step=world.observed.commit.step if world.observed.commit else 0,
        cause=cause,
        unplaced=unplaced,
    )
    actions: list[Action] = [RecordPlan(record)]
    if world.highest and not world.living:
        actions.append(DeleteWorkers(world.highest))
    if not world.living:
        actions.append(CreateWorkers(made.world_size))
    message = f"generation {record.generation}: {made.world_size} ranks are being created"
    return Step(
        Reason.WAITING_FOR_WORKERS,
        f"{message}, after {record.headline}" if cause else message,
        tuple(actions),
        requeue_after=0.0,
    )


def orphans_message(orphans: Sequence[ShardId]) -> str:
    """Names the first lost shards."""
    return f"no live database node holds a readable copy of {named(orphans)}"
