"""Did an epoch take every row once? Decided from counts: pure.

A database may lose rows without an error (an in-memory Ignite cluster that loses more nodes than
it has backups simply answers with fewer rows), and a table may be written while it trains. Both
show in three numbers. What does not show: rows that are updated in place, and as many rows
inserted as deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from insitu.errors import DataChanged, DataLost
from insitu.topology import NodeId, ShardId

_REMEDY = (
    "A job that is resumed goes on with the table as it is now; to train on while rows come and "
    "go, set spec.data.onChange to Continue"
)


def check_table(
    expected: int | None, now: int | None, gone: Collection[NodeId] | None = None
) -> DataLost | DataChanged | None:
    """What is wrong with a table that had `expected` rows when the job counted it last.

    None is for a database that can't count, and nothing is concluded then. `gone` are the
    database nodes that went away since, None where that is not known; it tells rows that were
    lost from rows that were deleted. The problem is returned, not raised: whether a change ends
    the job is the job's choice.
    """
    if expected is None or now is None or now == expected:
        return None
    if now > expected:
        return DataChanged(
            f"the table has {now:,} rows and had {expected:,} when the job counted it last: "
            f"{now - expected:,} were added, so the epoch is not exact. {_REMEDY}"
        )
    fewer = f"{expected - now:,} of {expected:,} rows are no longer in the table ({now:,} are left)"
    if gone:
        return DataLost(
            f"{fewer}: {_named(gone)} went away, and the table has too few backups to survive "
            f"that. Load the missing rows again; with backups=1 one node can be lost, with "
            f"backups=2 two"
        )
    if gone is None:
        return DataLost(
            f"{fewer}: deleted, or lost with a database node that had no backup. Load the "
            f"missing rows again, and keep at least backups=1 so that a node can be lost; if they "
            f"were deleted on purpose, set spec.data.onChange to Continue"
        )
    return DataChanged(
        f"{fewer}: all database nodes are still there, so the rows were deleted, and the epoch is "
        f"not exact. {_REMEDY}"
    )


def check_epoch(
    expected: int | None,
    taken: int,
    now: int | None,
    gone: Collection[NodeId] | None = None,
) -> DataLost | DataChanged | None:
    """What is wrong with an epoch that took `taken` rows, all ranks together; None if nothing is.

    Same arguments otherwise as `check_table`, which explains a changed table best and is asked
    first. What is left are rows that moved while they were read.
    """
    problem = check_table(expected, now, gone)
    true_count = now if expected is None else expected
    if problem is not None or true_count is None or taken == true_count:
        return problem
    return DataChanged(
        f"the epoch took {taken:,} rows of a table of {true_count:,}: rows were inserted or "
        f"deleted while they were read, so the epoch is not exact. {_REMEDY}"
    )


def check_not_empty(taken: int, steps: int) -> DataLost | None:
    """What is wrong with an epoch that took no row, where the job has made `steps` steps before."""
    if taken or not steps:
        return None
    return DataLost(
        "the epoch found no row at all, and an earlier one did: the table was emptied, or its rows "
        "are lost. Load the rows again and resume"
    )


def check_counts(before: int | None, taken: int) -> DataChanged | None:
    """What is wrong with an epoch of a table that can't be counted: the one before it took
    `before` rows, None if it is not known to have been exact.
    """
    if before is None or taken == before:
        return None
    return DataChanged(
        f"the epoch took {taken:,} rows, and the one before {before:,}: rows were inserted or "
        f"deleted meanwhile, so the epoch is not exact. {_REMEDY}"
    )


def block_changed(shards: Sequence[ShardId]) -> DataChanged:
    """What is wrong with an epoch that was resumed in the middle of a block of each of `shards`,
    and found other rows there.
    """
    named = f"shard {shards[0]}" + (f" and {len(shards) - 1} more" if len(shards) > 1 else "")
    return DataChanged(
        f"{named}: rows were inserted or deleted among those that the epoch was in the middle of "
        f"when it was left, so the epoch is not exact. {_REMEDY}"
    )


def _named(nodes: Collection[NodeId]) -> str:
    names = ", ".join(sorted(nodes))
    return f"database node {names}" if len(nodes) == 1 else f"database nodes {names}"
