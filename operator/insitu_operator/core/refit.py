"""Readings in the shards that a job was planned with."""

from __future__ import annotations

from dataclasses import replace

from insitu.databases import refit
from insitu_operator.core.observed import Reading
from insitu_operator.core.record import Record


def refitted(reading: Reading | None, kind: str, record: Record | None) -> Reading | None:
    """`reading` of a database of `kind`, as the job of `record` has to look at it.

    A job keeps its shards for life, and a database may cut a table anew when nodes come or go.
    Readings are shared by jobs, so each has to see them through its own plan.
    """
    if reading is None or record is None:
        return reading
    return replace(reading, topology=refit(kind, reading.topology, record.plan.rank_of.keys()))
