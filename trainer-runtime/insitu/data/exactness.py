"""Did an epoch take every row once? Decided from counts: pure.

A database may lose rows without an error (an in-memory Ignite cluster that loses more nodes than
it has backups simply answers with fewer rows), and a table may be written while it trains. Both
show in three numbers.
"""

from __future__ import annotations

from collections.abc import Collection

from insitu.errors import DataChanged, DataLost
from insitu.topology import NodeId


def check_table(
    expected: int | None, now: int | None, gone: Collection[NodeId] | None = None
) -> DataLost | DataChanged | None:
    """What is wrong with a table that had `expected` rows when the job first counted it.

    None is for a database that can't count, and nothing is concluded then. `gone` are the
    database nodes that went away since, None where that is not known; it tells rows that were
    lost from rows that were deleted. The problem is returned, not raised: whether a change ends
    the job is the job's choice.
    """
    if expected is None or now is None or now == expected:
        return None
    if now > expected:
        return DataChanged(
            f"the table has {now:,} rows and had {expected:,} when the job first counted it: "
            f"{now - expected:,} were added, so the epoch is not exact. Train on a table that "
            f"nobody writes to meanwhile, or set spec.data.onChange to Continue"
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
            f"missing rows again, and keep at least backups=1 so that a node can be lost"
        )
    return DataChanged(
        f"{fewer}: all database nodes are still there, so the rows were deleted, and the epoch is "
        f"not exact. Train on a table that nobody writes to meanwhile, or set "
        f"spec.data.onChange to Continue"
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
    difference = abs(taken - true_count)
    what = "were missed" if taken < true_count else "were taken twice"
    return DataChanged(
        f"the epoch took {taken:,} rows of a table of {true_count:,}: at least {difference:,} "
        f"{what}, because rows were written while they were read. Train on a table that nobody "
        f"writes to meanwhile, or set spec.data.onChange to Continue"
    )


def _named(nodes: Collection[NodeId]) -> str:
    names = ", ".join(sorted(nodes))
    return f"database node {names}" if len(nodes) == 1 else f"database nodes {names}"
