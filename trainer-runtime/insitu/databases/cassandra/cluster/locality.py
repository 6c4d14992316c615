"""Whether a node takes what it is asked for from its own disk: measured, because it may not.

A request that is pinned to a node makes that node its coordinator. With several copies the
coordinator's snitch chooses whose copy is read, and it need not choose its own. Each node counts
the scans of its own storage by table (`system_views.local_scan_latency`): while nobody else reads,
those that a probe adds on the asked node were local.
"""

from __future__ import annotations

from collections.abc import Sequence

from insitu.databases.cassandra.cluster.control import Control
from insitu.databases.cassandra.cluster.tables import Table, text
from insitu.databases.cassandra.ranges import parse_range
from insitu.errors import DatabaseUnavailable
from insitu.topology import MeasuredLocality, NodeId, Shard

_PROBES = 16
_TRIES = 3
_SETTING = (
    "set `dynamic_snitch: false` in cassandra.yaml, and an endpoint_snitch that puts a node itself"
    " first (GossipingPropertyFileSnitch does, SimpleSnitch does not)"
)
_GRANT = "GRANT SELECT ON KEYSPACE system_views TO the job's role"


def measure(
    control: Control, table: Table, nodes: Sequence[NodeId], shards: Sequence[Shard]
) -> MeasuredLocality:
    """Reads the first row of some shards at their owners, and counts who served it.

    A node with a shard that has no other copy needs no measuring for that one.
    """
    served = asked = 0
    for node in nodes:
        own = [shard for shard in shards if node in shard.owners and len(shard.owners) > 1]
        chosen = own[:: max(len(own) // _PROBES, 1)][:_PROBES]
        if not chosen:
            continue
        try:
            local = _served_by_itself(control, table, node, chosen)
        except DatabaseUnavailable:
            continue
        if local is None:
            return MeasuredLocality(None, _why_not(control, table, node))
        served += local
        asked += len(chosen)
    if asked == 0:
        return MeasuredLocality(1.0)
    if served == asked and not _by_speed(control, nodes[0]):
        return MeasuredLocality(1.0)
    return MeasuredLocality(served / asked, _SETTING)


def _served_by_itself(
    control: Control, table: Table, node: NodeId, shards: Sequence[Shard]
) -> int | None:
    """How many of `shards` the node read from its own storage; None where that can't be told."""
    for _ in range(_TRIES):
        before = _scans(control, table, node)
        for shard in shards:
            tokens = parse_range(shard.id)
            control.rows(table.first_row_in(tokens.start, tokens.end), node=node)
        after = _scans(control, table, node)
        if before is None or after is None:
            return None
        if after - before <= len(shards):
            return after - before
    return None


def _scans(control: Control, table: Table, node: NodeId) -> int | None:
    rows = control.optional_rows(
        "SELECT count FROM system_views.local_scan_latency WHERE"  # noqa: S608 - quoted
        f" keyspace_name = {text(table.name.keyspace)} AND table_name = {text(table.name.table)}",
        node=node,
    )
    # A table that was never scanned may not be listed.
    return None if rows is None else sum(row[0] for row in rows)


def _by_speed(control: Control, node: NodeId) -> bool:
    """Whether the node may come to prefer other replicas: what was local now may not stay so."""
    rows = control.optional_rows(
        "SELECT value FROM system_views.settings WHERE name = 'dynamic_snitch'", node=node
    )
    return any(row.value == "true" for row in rows or ())


def _why_not(control: Control, table: Table, node: NodeId) -> str:
    if _scans(control, table, node) is None:
        return f"the role may not read the servers' counters ({_GRANT})"
    return "others read the table at the same time"
