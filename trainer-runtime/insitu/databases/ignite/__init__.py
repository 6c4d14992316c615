"""Apache Ignite 2: shards are partitions, read and written by its binary client protocol."""

from __future__ import annotations

from insitu.databases import DataSource
from insitu.databases.ignite.database import IgniteDatabase

__all__ = ["IgniteDatabase", "connect"]


def connect(source: DataSource) -> IgniteDatabase:
    """Opens `source` for control work; connects when it is first asked for something."""
    return IgniteDatabase(source)
