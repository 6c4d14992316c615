"""Apache Cassandra: shards are token ranges, read by its native protocol."""

from __future__ import annotations

from insitu.databases import DataSource
from insitu.databases.cassandra.cluster.shards import refit
from insitu.databases.cassandra.database import CassandraDatabase

__all__ = ["CassandraDatabase", "connect", "refit"]


def connect(source: DataSource) -> CassandraDatabase:
    """Opens `source` for control work; connects when it is first asked for something."""
    return CassandraDatabase(source)
