"""Apache Ignite 2: shards are partitions, read and written by its binary client protocol."""

from __future__ import annotations

from collections.abc import Collection

from insitu.databases import DataSource
from insitu.databases.ignite.database import IgniteDatabase
from insitu.topology import ShardId, Topology

__all__ = ["IgniteDatabase", "connect", "refit"]


def connect(source: DataSource) -> IgniteDatabase:
    """Opens `source` for control work; connects when it is first asked for something."""
    return IgniteDatabase(source)


def refit(topology: Topology, shards: Collection[ShardId]) -> Topology:  # noqa: ARG001 - of all
    """The topology as it is: partitions are the same for as long as a table is there."""
    return topology
