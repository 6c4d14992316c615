"""The cluster's server nodes: their lasting names, and where other machines reach them.

Formats of the operations 5101 and 5102: Apache Ignite, ClientClusterGroupGetNodesDetailsResponse
and ClientClusterGroupGetNodesEndpointsResponse.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.binary.decode import read_value
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.binary.values import Collection
from insitu.databases.ignite.protocol import sql
from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.protocol.frames import read_string
from insitu.errors import InsituError, ProtocolError
from insitu.topology import DatabaseNode, NodeId

_NODE_DETAILS = 5101
_NODE_ENDPOINTS = 5102

_UUID = struct.Struct("<QQ")

Identify = Callable[[str, int], UUID]
"""Logs in at `(host, port)` and gives the id of the node that answers; raises `InsituError`."""


@dataclass(frozen=True, slots=True)
class ServerNode:
    """A live server. `run` is its id until it restarts, `node.id` its name for good."""

    run: UUID
    node: DatabaseNode


def read_nodes(
    connection: Connection, identify: Identify, *, with_sql: bool
) -> tuple[ServerNode, ...]:
    """All live server nodes with a client port, by name.

    A node that lists several addresses (those of container bridges among them) is asked who it
    is at each, until one of them really leads to it.
    """
    endpoints = _endpoints(connection)
    names = _names_by_sql(connection) if with_sql else _names(connection, list(endpoints))
    servers = [
        ServerNode(run, DatabaseNode(names[run], reachable(run, hosts, port, identify), port))
        for run, (port, hosts) in endpoints.items()
        if run in names  # a node that left between the two questions is not there
    ]
    return tuple(sorted(servers, key=lambda server: server.node.id))


def reachable(run: UUID, hosts: Sequence[str], port: int, identify: Identify) -> str:
    """Which of a node's addresses leads to it; a single one is not doubted, loopback comes last."""
    if not hosts:
        raise ProtocolError(f"Ignite lists node {run} without any address")
    candidates = sorted(dict.fromkeys(hosts), key=_is_loopback)
    if len(candidates) == 1:
        return candidates[0]
    for host in candidates:
        try:
            if identify(host, port) == run:
                return host
        except InsituError:
            continue
    return candidates[0]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _endpoints(connection: Connection) -> dict[UUID, tuple[int, list[str]]]:
    every_version = struct.pack("<qq", -1, -1)
    body = connection.request(_NODE_ENDPOINTS, every_version)
    (count,) = struct.unpack_from("<i", body, 8)
    offset = 12
    found = {}
    for _ in range(count):
        run = _uuid(body, offset)
        port, addresses = struct.unpack_from("<ii", body, offset + 16)
        offset += 24
        hosts = []
        for _ in range(addresses):
            host, offset = read_string(body, offset)
            hosts.append(host)
        found[run] = (port, hosts)
    return found


def _names_by_sql(connection: Connection) -> dict[UUID, NodeId]:
    rows = sql.system_view(
        connection, "SELECT NODE_ID, CONSISTENT_ID FROM SYS.NODES WHERE IS_CLIENT = FALSE"
    )
    return {run: NodeId(str(name)) for run, name in rows}


def _names(connection: Connection, runs: Sequence[UUID]) -> dict[UUID, NodeId]:
    request = bytearray(struct.pack("<i", len(runs)))
    for run in runs:
        request += _UUID.pack(run.int >> 64, run.int & (1 << 64) - 1)
    body = connection.request(_NODE_DETAILS, request)
    (count,) = struct.unpack_from("<i", body)
    offset = 4
    found = {}
    for _ in range(count):
        run, name, offset = _read_details(body, offset)
        found[run] = name
    return found


def _read_details(body: memoryview, offset: int) -> tuple[UUID, NodeId, int]:
    types = BinaryTypes(lambda _: None)
    run, offset = read_value(body, offset, types, "node.id")
    (attributes,) = struct.unpack_from("<i", body, offset)
    offset += 4
    for _ in range(attributes):
        key, offset = read_string(body, offset)
        offset = _skip(body, offset, types, f"node.{key}")
    for part in ("addresses", "hostNames"):
        hosts, offset = read_value(body, offset, types, part)
        assert isinstance(hosts, Collection)
    offset += 8 + 3  # order; whether it is local, a daemon, a client
    name, offset = read_value(body, offset, types, "node.consistentId")
    offset += 3
    _, offset = read_value(body, offset, types, "node.version.stage")
    offset += 8
    _, offset = read_value(body, offset, types, "node.version.revision")
    if not isinstance(run, UUID):
        raise ProtocolError("Ignite lists a node without an id")
    return run, NodeId(str(name)), offset


def _skip(body: memoryview, offset: int, types: BinaryTypes, path: str) -> int:
    """The offset after an attribute, many of which are objects that only Java can read."""
    if body[offset] == Code.JAVA_SERIALIZED:
        (size,) = struct.unpack_from("<i", body, offset + 1)
        return offset + 5 + int(size)
    return read_value(body, offset, types, path)[1]


def _uuid(body: memoryview, offset: int) -> UUID:
    most, least = _UUID.unpack_from(body, offset)
    return UUID(int=most << 64 | least)
