"""One consistent reading of an Ignite table: nodes, partitions, owners, rows.

The system views of SQL tell every copy and its state; without a SQL engine on the servers the
client protocol tells only primaries, and the reading says so.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from insitu.databases.ignite.cluster import affinity, weights
from insitu.databases.ignite.cluster.affinity import Group, Partition
from insitu.databases.ignite.cluster.catalog import Table, find_table, has_sql
from insitu.databases.ignite.cluster.nodes import Identify, ServerNode, read_nodes
from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.protocol.faults import ServerError
from insitu.errors import ConfigurationError, DatabaseUnavailable
from insitu.topology import NodeId, Shard, ShardId, Topology

_ATTEMPTS = 20
_PAUSE_SECONDS = 0.25


def read_topology(
    connection: Connection,
    table: str,
    identify: Identify,
    connect: Callable[[], Connection],
    before: Topology | None = None,
) -> Topology:
    """Reads `table`'s topology, again and again until nothing changed meanwhile.

    `connect` opens one more connection, for counting rows.
    `before` is an earlier reading of the same table: while the table has as many rows as then,
    its partitions are not counted again, so that polling costs the servers next to nothing.

    Raises:
        ConfigurationError: there is no such table, or its owners can't be told.
        DatabaseUnavailable: the cluster did not hold still for five seconds.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        try:
            found = find_table(connection, table)
            topology = _read_once(connection, found, identify, connect, before)
        except ServerError:
            # Just after a node came or left, a server can't tell the mapping it has announced.
            if attempt + 1 == _ATTEMPTS:
                raise
            continue
        if topology is not None:
            return topology
    raise DatabaseUnavailable(
        f"the nodes of the Ignite cluster at {connection.where} keep coming and going; "
        "try again when it is stable"
    )


def _read_once(
    connection: Connection,
    table: Table,
    identify: Identify,
    connect: Callable[[], Connection],
    earlier: Topology | None,
) -> Topology | None:
    before, primaries = affinity.read_primaries(connection, table)
    with_sql = has_sql(connection)
    group = affinity.read_group(connection, table) if with_sql else None
    if group is not None:
        copies = affinity.read_copies(connection, group)
        partitions = affinity.partitions_of(copies, group.partitions)
    elif primaries is not None:
        partitions = primaries
    else:
        raise ConfigurationError(
            f"Ignite at {connection.where} tells the owners of cache '{table.cache}' only through "
            "its system views; put the module ignite-indexing on the servers' class path"
        )
    servers = read_nodes(connection, identify, with_sql=with_sql)
    rows = weights.count_rows(connection, table)
    sizes, exact = _sizes(connect, table, rows, partitions, earlier)
    after, _ = affinity.read_primaries(connection, table)
    if before != after:
        return None
    return assemble(servers, partitions, rows, sizes, exact, group)


def _sizes(
    connect: Callable[[], Connection],
    table: Table,
    rows: int,
    found: Sequence[Partition],
    earlier: Topology | None,
) -> tuple[Sequence[int], bool]:
    partitions = len(found)
    if (
        earlier
        and earlier.weights_exact
        and (earlier.rows, len(earlier.shards))
        == (
            rows,
            partitions,
        )
    ):
        return [shard.weight for shard in earlier.shards], True
    if partitions == 1 or rows == 0:
        return weights.equal_shares(rows, partitions), True
    lost = any(partition.lost for partition in found)
    if table.sql is not None and not lost and weights.worth_counting(rows, partitions):
        counted = weights.count_partitions(connect, table, partitions)
        if counted is not None and sum(counted) == rows:
            return counted, True
    return weights.equal_shares(rows, partitions), False


def assemble(
    servers: Sequence[ServerNode],
    partitions: Sequence[Partition],
    rows: int,
    sizes: Sequence[int],
    exact: bool,
    group: Group | None,
) -> Topology:
    """The topology those readings mean. `group` None: only primaries are known."""
    names = {server.run: server.node.id for server in servers}
    shards = tuple(
        Shard(
            ShardId(str(number)),
            () if partition.lost else _readable(partition.owners, names),
            size,
            partition.moving,
        )
        for number, (partition, size) in enumerate(zip(partitions, sizes, strict=True))
    )
    return Topology(
        nodes=tuple(server.node for server in servers),
        shards=shards,
        version=_version(servers, partitions),
        rows=rows,
        weights_exact=exact,
        warnings=tuple(_warnings(partitions, names, group)),
    )


def _readable(owners: Sequence[UUID], names: dict[UUID, NodeId]) -> tuple[NodeId, ...]:
    """The owners that can be read from, the primary staying first and the others by name."""
    known = [names[run] for run in owners if run in names]
    return (*known[:1], *sorted(known[1:]))


def _version(servers: Sequence[ServerNode], partitions: Sequence[Partition]) -> str:
    """A digest of every run of a node, its address, and the complete copies it holds.

    Ignite's own version is not part of it: that also counts caches being created and dropped.
    """
    digest = hashlib.sha256()
    for server in servers:
        node = server.node
        digest.update(f"{server.run} {node.id} {node.host} {node.port}\n".encode())
    for partition in partitions:
        digest.update(b"lost\n" if partition.lost else b"\n")
        for run in partition.owners:
            digest.update(run.bytes)
    return digest.hexdigest()[:16]


def _warnings(
    partitions: Sequence[Partition], names: dict[UUID, NodeId], group: Group | None
) -> list[str]:
    if group is None:
        return [
            "only primary copies are known, because the servers have no SQL engine: backups can't "
            "be used, and whether copies are complete can't be told (add ignite-indexing)"
        ]
    found = []
    if unreachable := {run for part in partitions for run in part.owners} - names.keys():
        found.append(
            f"{len(unreachable)} node(s) hold copies but have no client port; "
            "configure clientConnectorConfiguration on every server"
        )
    replicated = group.mode == "REPLICATED"
    if not replicated and group.backups == 0:
        found.append("the table has no backups: losing any node loses rows")
    if not replicated and group.loss_policy == "IGNORE":
        found.append(
            "partitionLossPolicy is IGNORE: losing more nodes than there are backups is silent, "
            "the rows are just gone; READ_WRITE_SAFE reports it"
        )
    return found
