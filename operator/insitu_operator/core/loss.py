"""Rows that the job counts on and that are gone."""

from __future__ import annotations

from insitu.api import OnChange, Reason
from insitu_operator.core.decision import Step
from insitu_operator.core.ending import failure
from insitu_operator.core.world import World


def rows_lost(world: World) -> Step | None:
    """Some databases return fewer rows, without any error, after losing too many nodes.

    Only a settled topology is believed: while copies move or are missing, counts are too.
    """
    topology, record = world.topology, world.record
    if topology is None or record is None or world.spec.data.on_change is OnChange.CONTINUE:
        return None
    if topology.orphans or topology.moving or topology.rows is None or record.rows is None:
        return None
    if topology.rows >= record.rows:
        return None
    return failure(
        world,
        Reason.DATA_LOST,
        f"the table has {topology.rows} rows, but had {record.rows} when the job first counted"
        f" them: {record.rows - topology.rows} are gone. They were deleted, or more database nodes"
        " were lost than there are backups",
    )
