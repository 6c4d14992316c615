"""`spec.suspend`: ranks write a checkpoint and leave, and nothing starts until it is lifted."""

from __future__ import annotations

from insitu.api import Reason
from insitu_operator.core.decision import Action, DeleteWorkers, Step
from insitu_operator.core.policies.ending import clear_out
from insitu_operator.core.world import World


def suspended(world: World) -> Step | None:
    """Once all have left they are cleared away, so that resuming counts as no restart."""
    if not (world.spec.suspend or world.suspending):
        return None
    actions: tuple[Action, ...] = clear_out(world, "the job is suspended")
    if world.living:
        return Step(
            doing=Reason.STOPPING,
            message=f"suspending: {len(world.living)} ranks are writing a checkpoint and leaving",
            actions=actions,
        )
    if world.current or world.older:
        actions = (*actions, DeleteWorkers(world.generation))
    return Step(
        doing=Reason.SUSPENDED,
        message="no rank runs until the suspension is lifted",
        actions=actions,
    )
