"""How large the table is about where, from every node's own estimates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from insitu.databases.cassandra.cluster.control import Control
from insitu.databases.cassandra.cluster.density import (
    Density,
    Estimate,
    Probe,
    believable,
    estimates,
)
from insitu.databases.cassandra.cluster.tables import Table
from insitu.databases.cassandra.ranges import RING, TokenRange
from insitu.errors import ConfigurationError, DatabaseUnavailable
from insitu.topology import NodeId

# Ranges a node is the primary of in its datacenter: together they are the ring, once.
_LOCAL_PRIMARY = (
    "SELECT range_start, range_end, partitions_count FROM system.table_estimates"
    " WHERE keyspace_name = %s AND table_name = %s AND range_type = 'local_primary'"
)
# Servers before 4.0.
_PRIMARY = (
    "SELECT range_start, range_end, partitions_count FROM system.size_estimates"
    " WHERE keyspace_name = %s AND table_name = %s"
)
_PROBES = 4
_PROBE_ROWS = 250


def read_density(control: Control, table: Table, nodes: Sequence[NodeId]) -> Density:
    """Merges the estimates of all `nodes`: each knows only its own part.

    Servers estimate partitions, every five minutes, from what is on disk. Where those are not
    rows, or the estimates are missing or stale, a few rows in several places are counted.

    Raises:
        AuthenticationError: the role may not read the table.
    """
    known = believable([_read_estimates(control, table, node) for node in nodes])
    if known and not table.clustering:
        return Density(known)
    return Density(known, _probe(control, table, nodes))


def _read_estimates(control: Control, table: Table, node: NodeId) -> list[Estimate]:
    names = (table.name.keyspace, table.name.table)
    for statement in (_LOCAL_PRIMARY, _PRIMARY):
        try:
            rows = control.rows(statement, *names, node=node)
        except (ConfigurationError, DatabaseUnavailable):
            continue
        if rows:
            return [
                estimate
                for row in rows
                for estimate in estimates(row.range_start, row.range_end, row.partitions_count)
            ]
    return []


def _probe(control: Control, table: Table, nodes: Sequence[NodeId]) -> list[Probe]:
    """The first rows behind some tokens, as `nodes` tell them in turn: nodes of a datacenter
    without copies know of no row. A node that can't tell is left out.
    """
    token = table.token
    statement = (
        f"SELECT {token} FROM {table.name.cql} WHERE {token} > %s AND {token} <= %s"  # noqa: S608 - names are quoted
        f" LIMIT {_PROBE_ROWS}"
    )
    found = []
    parts = RING.cut(RING.start + RING.width * i // _PROBES for i in range(1, _PROBES))
    for part, node in zip(parts, itertools.cycle(nodes), strict=False):
        try:
            rows = control.rows(statement, part.start, part.end, node=node)
        except DatabaseUnavailable:
            continue
        whole = len(rows) < _PROBE_ROWS
        last = part.end if whole else rows[-1][0]
        seen = TokenRange(part.start, max(last, part.start + 1))
        found.append(Probe(seen, len(rows), cut_short=not whole and rows[0][0] == last))
    return found
