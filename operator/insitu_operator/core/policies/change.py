"""`spec.placement.onTopologyChange`: the database changed under a running generation."""

from __future__ import annotations

from insitu.api import OnTopologyChange, Reason
from insitu_operator.core.decision import Step
from insitu_operator.core.policies.ending import failure, stop
from insitu_operator.core.policies.planning import not_ready
from insitu_operator.core.world import World


def topology_changed(world: World) -> Step | None:
    """None while the plan fits, or while it is better to wait: see `not_ready`.

    A topology that can't be read keeps the plan; so does one that lacks an owner for some shard.
    While shards move, another change is about to follow, unless a node is gone altogether.
    """
    if not world.bound or not world.misfit:
        return None
    match world.spec.placement.on_topology_change:
        case OnTopologyChange.IGNORE:
            return None
        case OnTopologyChange.FAIL:
            return failure(world, Reason.TOPOLOGY_CHANGED, world.misfit)
    if not world.living or not_ready(world):
        return None
    return Step(
        Reason.STOPPING,
        f"{world.misfit}: the ranks are writing a checkpoint, then a new plan is made",
        stop(world, world.grace_seconds, world.misfit),
    )
