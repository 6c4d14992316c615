"""The cluster's nodes as one of them describes them, at one moment."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from insitu.databases.cassandra.cluster.control import Control
from insitu.databases.cassandra.cluster.ring import Member
from insitu.errors import ConfigurationError
from insitu.topology import NodeId

_PARTITIONER = "Murmur3Partitioner"
_LOCAL = (
    "SELECT host_id, rpc_address, rpc_port, broadcast_address, data_center, rack, tokens,"
    " schema_version, partitioner FROM system.local"
)
_PEERS = (
    "SELECT host_id, native_address, native_port, data_center, rack, tokens FROM system.peers_v2"
)
_GOSSIP = "SELECT host_id, status, status_with_port FROM system_views.gossip_info"


@dataclass(frozen=True, slots=True)
class Membership:
    """Nodes with tokens, by id, as `asked` knows them.

    `joining` and `leaving` are empty where that node does not tell.
    """

    asked: NodeId
    datacenter: str
    schema_version: str
    members: tuple[Member, ...]
    joining: frozenset[NodeId] = frozenset()
    leaving: frozenset[NodeId] = frozenset()

    @property
    def datacenters(self) -> frozenset[str]:
        """Of all members."""
        return frozenset(member.datacenter for member in self.members)


def read_members(control: Control, asked: NodeId) -> Membership:
    """What `asked` knows. All of it comes from this one node: two may disagree for a while.

    Raises:
        ConfigurationError: rows are not spread by the Murmur3 partitioner.
        DatabaseUnavailable: the node does not answer.
    """
    [local] = control.rows(_LOCAL, node=asked)
    if not local.partitioner.endswith(_PARTITIONER):
        raise ConfigurationError(
            f"the cluster spreads its rows by {local.partitioner.rsplit('.', 1)[-1]};"
            f" {_PARTITIONER} is the one that can be read by token ranges here"
        )
    peers = control.rows(_PEERS, node=asked)
    members = [_member(local, _own_address(control, local, peers), local.rpc_port)]
    members += [
        _member(peer, str(peer.native_address), peer.native_port)
        for peer in peers
        # One that is just joining has no tokens yet, and one that left may be without a name.
        if peer.host_id and peer.tokens and peer.native_address and peer.data_center and peer.rack
    ]
    joining, leaving = _changing(control.optional_rows(_GOSSIP, node=asked) or ())
    return Membership(
        asked=asked,
        datacenter=local.data_center,
        schema_version=str(local.schema_version),
        members=tuple(sorted(members, key=lambda member: member.id)),
        joining=joining,
        leaving=leaving,
    )


def _member(row: Any, host: str, port: int) -> Member:
    return Member(
        id=NodeId(str(row.host_id)),
        host=host,
        port=port,
        datacenter=row.data_center,
        rack=row.rack,
        tokens=tuple(sorted(int(token) for token in row.tokens)),
    )


def _own_address(control: Control, local: Any, peers: Sequence[Any]) -> str:
    """Where others reach the asked node: it may itself know only that it listens everywhere."""
    own = str(local.rpc_address)
    if not ipaddress.ip_address(own).is_unspecified:
        return own
    for other in control.up([NodeId(str(peer.host_id)) for peer in peers if peer.host_id]):
        for peer in control.rows(_PEERS, node=other):
            if peer.host_id == local.host_id and peer.native_address:
                return str(peer.native_address)
    return str(local.broadcast_address)


def _changing(gossip: Sequence[Any]) -> tuple[frozenset[NodeId], frozenset[NodeId]]:
    joining, leaving = set(), set()
    for row in gossip:
        status = (row.status_with_port or row.status or "").partition(",")[0]
        if status in ("BOOT", "BOOT_REPLACE"):
            joining.add(NodeId(str(row.host_id)))
        elif status in ("LEAVING", "MOVING"):
            leaving.add(NodeId(str(row.host_id)))
    return frozenset(joining), frozenset(leaving)
