"""Whether all partition copies are where they belong, from Ignite's system views."""

from __future__ import annotations

from collections.abc import Sequence

# A copy in one of these states is on its way in or out.
MOVING = "SELECT COUNT(*) FROM SYS.PARTITION_STATES WHERE STATE IN ('MOVING', 'RENTING')"
COPIES = """
    SELECT G.CACHE_GROUP_NAME, G.PARTITIONS_COUNT, G.BACKUPS, COUNT(P.STATE),
           SUM(CASE WHEN P.IS_PRIMARY THEN 1 ELSE 0 END)
    FROM SYS.CACHE_GROUPS G
    JOIN SYS.PARTITION_STATES P ON P.CACHE_GROUP_ID = G.CACHE_GROUP_ID
    WHERE P.STATE = 'OWNING'
    GROUP BY G.CACHE_GROUP_NAME, G.PARTITIONS_COUNT, G.BACKUPS
"""


def unsettled(
    moving: int, groups: Sequence[tuple[str, int, int, int, int]], nodes: int
) -> str | None:
    """What is still to happen, or None.

    Args:
        moving: The answer to `MOVING`.
        groups: The rows of `COPIES`.
        nodes: How many servers there are to hold copies.
    """
    if moving:
        return f"{moving} partition copies are moving"
    for group, partitions, backups, copies, primaries in groups:
        wanted = partitions * min(backups + 1, nodes)
        if copies != wanted or primaries != partitions:
            return f"cache group {group} has {copies} of {wanted} copies"
    return None
