"""Who holds which partition: the states of all copies, or at least the primaries.

Format of operation 1101: Apache Ignite, ClientCachePartitionsRequest.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from insitu.databases.ignite.binary.decode import read_value
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.cluster.catalog import Table
from insitu.databases.ignite.protocol import sql
from insitu.databases.ignite.protocol.connection import Connection
from insitu.errors import ConfigurationError, ProtocolError

_PARTITIONS = 1101

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Partition:
    """`owners` are the runs of the nodes whose copy is complete, primary first."""

    owners: tuple[UUID, ...]
    moving: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """The cache group a table's cache lives in: partitions belong to the group, not the cache."""

    id: int
    mode: str
    partitions: int
    backups: int
    loss_policy: str


class Copy(NamedTuple):
    """One node's copy of a partition, as SYS.PARTITION_STATES lists it."""

    partition: int
    run: UUID
    state: str
    primary: bool


def read_group(connection: Connection, table: Table) -> Group:
    """Raises `ConfigurationError` when the cache has just been dropped."""
    statement = (
        "SELECT G.CACHE_GROUP_ID, G.CACHE_MODE, G.PARTITIONS_COUNT, G.BACKUPS, "  # noqa: S608
        "G.PARTITION_LOSS_POLICY FROM SYS.CACHES C JOIN SYS.CACHE_GROUPS G "
        f"ON C.CACHE_GROUP_ID = G.CACHE_GROUP_ID WHERE C.CACHE_NAME = {sql.text(table.cache)}"
    )
    rows = sql.system_view(connection, statement)
    if not rows:
        raise ConfigurationError(f"cache '{table.cache}' is gone from Ignite {connection.where}")
    number, mode, partitions, backups, loss_policy = rows[0]
    return Group(number, mode, partitions, backups or 0, loss_policy)


def read_copies(connection: Connection, group: Group) -> list[Copy]:
    """Every copy of every partition of the group, in any state."""
    # The number stands in the text because the view refuses a parameter that is a long.
    statement = (
        "SELECT PARTITION_ID, NODE_ID, STATE, IS_PRIMARY FROM SYS.PARTITION_STATES "  # noqa: S608
        f"WHERE CACHE_GROUP_ID = {group.id}"
    )
    rows = sql.system_view(connection, statement)
    return [Copy(*row) for row in rows]


def partitions_of(copies: Sequence[Copy], count: int) -> tuple[Partition, ...]:
    """What the copies mean for each of `count` partitions.

    Only an OWNING copy is complete; a copy that is being filled can be called primary for a moment.
    """
    owners: list[list[Copy]] = [[] for _ in range(count)]
    moving: set[int] = set()
    lost: set[int] = set()
    for copy in copies:
        if copy.state == "OWNING":
            owners[copy.partition].append(copy)
        elif copy.state == "MOVING":
            moving.add(copy.partition)
        elif copy.state == "LOST":
            lost.add(copy.partition)
    return tuple(
        Partition(
            tuple(c.run for c in sorted(owners[p], key=lambda c: (not c.primary, c.run.int))),
            moving=p in moving,
            lost=p in lost,
        )
        for p in range(count)
    )


def read_primaries(
    connection: Connection, table: Table
) -> tuple[Version, tuple[Partition, ...] | None]:
    """The affinity version of this moment, and each partition with its primary alone.

    The partitions are None for a table whose mapping the protocol does not tell: a replicated
    one, or one with an affinity function of its own.
    """
    body = connection.request(_PARTITIONS, struct.pack("<ii", 1, table.cache_id))
    major, minor, groups = struct.unpack_from("<qii", body)
    offset = 16
    found = None
    for _ in range(groups):
        applicable, caches = struct.unpack_from("<?i", body, offset)
        offset += 5
        wanted = False
        for _ in range(caches):
            (cache,) = struct.unpack_from("<i", body, offset)
            offset += 4
            wanted = wanted or cache == table.cache_id
            if applicable:
                (keys,) = struct.unpack_from("<i", body, offset)
                offset += 4 + 8 * keys
        if applicable:
            primaries, offset = _read_mapping(body, offset)
            found = primaries if wanted else found
    if found is None:
        return (major, minor), None
    return (major, minor), tuple(
        Partition((found[p],) if p in found else ()) for p in range(max(found, default=-1) + 1)
    )


def _read_mapping(body: memoryview, offset: int) -> tuple[dict[int, UUID], int]:
    primaries: dict[int, UUID] = {}
    (nodes,) = struct.unpack_from("<i", body, offset)
    offset += 4
    for _ in range(nodes):
        run, offset = read_value(body, offset, BinaryTypes(lambda _: None), "affinity.node")
        if not isinstance(run, UUID):
            raise ProtocolError("Ignite maps partitions to something that is no node")
        (count,) = struct.unpack_from("<i", body, offset)
        primaries |= dict.fromkeys(struct.unpack_from(f"<{count}i", body, offset + 4), run)
        offset += 4 + 4 * count
    return primaries, offset
