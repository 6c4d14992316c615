"""Rows that the job counts on and that are gone."""

from __future__ import annotations

from datetime import timedelta

from insitu.api import ConditionType, Reason
from insitu_operator.core.decision import Step
from insitu_operator.core.policies.ending import failure
from insitu_operator.core.world import World

CONFIRM_SECONDS = 3.0
"""A count taken while a node leaves may be wrong; a job must not end by one such count."""


def rows_lost(world: World) -> Step | None:
    """Some databases return fewer rows, without any error, after losing too many nodes.

    The first low count is only said, in TopologyResolved; a second one, later, ends the job.
    """
    said = world.status.condition(ConditionType.TOPOLOGY_RESOLVED)
    if not world.missing_rows or said is None or said.reason is not Reason.ROWS_MISSING:
        return None
    if not world.read_since(said.last_transition_time + timedelta(seconds=CONFIRM_SECONDS)):
        return None
    return failure(
        world,
        Reason.DATA_LOST,
        f"{world.missing_rows}. They were deleted, or more database nodes were lost than there are"
        " backups",
    )
