"""What a reader has to know of its server, to trust it and to be gentle with it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from insitu.databases.ignite.cluster.catalog import Table, has_sql
from insitu.databases.ignite.cluster.nodes import read_nodes
from insitu.databases.ignite.cluster.weights import count_rows
from insitu.databases.ignite.protocol import sql
from insitu.databases.ignite.protocol.connection import Connection
from insitu.errors import DatabaseUnavailable
from insitu.topology import NodeId


@dataclass(frozen=True, slots=True)
class Server:
    """`heap` is the most its Java heap may grow to, in bytes; None where it does not tell."""

    name: NodeId
    heap: int | None


def who_is(connection: Connection) -> Server:
    """The node behind `connection`."""
    if not has_sql(connection):
        nodes = read_nodes(connection, _not_asked, with_sql=False)
        return Server(next(each.node.id for each in nodes if each.run == connection.node), None)
    [(name, heap)] = sql.system_view(
        connection,
        "SELECT N.CONSISTENT_ID, M.HEAP_MEMORY_MAX FROM SYS.NODES N "  # noqa: S608 - a UUID
        "LEFT JOIN SYS.NODE_METRICS M ON M.NODE_ID = N.NODE_ID "
        f"WHERE N.NODE_ID = '{connection.node}'",
    )
    return Server(NodeId(str(name)), heap)


def usual_rows(connection: Connection, table: Table) -> int | None:
    """Rows that a partition of `table` has on average; None where the server does not tell."""
    if not has_sql(connection):
        return None
    partitions = sql.system_view(
        connection,
        "SELECT G.PARTITIONS_COUNT FROM SYS.CACHES C "  # noqa: S608 - quoted
        "JOIN SYS.CACHE_GROUPS G ON G.CACHE_GROUP_ID = C.CACHE_GROUP_ID "
        f"WHERE C.CACHE_NAME = {sql.text(table.cache)}",
    )
    return -(-count_rows(connection, table) // partitions[0][0]) if partitions else None


def _not_asked(host: str, port: int) -> UUID:
    """Stands for looking up addresses, of which none is needed here."""
    raise DatabaseUnavailable(f"{host}:{port} is not asked")
