"""A script run alone: the assignment from the database's own variables and its topology.

The names are those that users of IgniteDataset know, with its meanings but for three: an empty
value is an unset one, LOCAL can be switched off (`false`, `0`, `no`, `off`), and PART may be a
list with ranges. Other databases have the same in their own words.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from insitu.contract.assignment import Assignment, Training
from insitu.contract.names import Names
from insitu.databases import Credentials, Database, DataSource, Tls, refit
from insitu.errors import ConfigurationError
from insitu.topology import DatabaseNode, Shard, ShardId, Topology

#: For a script that says neither, and has no job to ask.
ALONE = Training(epochs=1, global_batch_size=32)

_OFF = frozenset({"", "0", "false", "no", "off"})


def assign(
    names: Names,
    environ: Mapping[str, str],
    open_database: Callable[[DataSource], Database],
    *,
    job: str,
    generation: int,
) -> Assignment:
    """What this process reads when nobody but the user tells it.

    - a list in PART: those shards, whatever the number of ranks;
    - PART -1 or unset, with LOCAL: the shards this node is the primary of;
    - otherwise all shards, dealt over the ranks of torchrun (RANK, WORLD_SIZE; default one rank).

    With LOCAL nothing is ever read from another node; without it a shard that this node holds no
    copy of is read from one that does. A script that says neither epochs nor rows a step makes
    one pass, in steps of 32 rows.

    Raises:
        ConfigurationError: a value can't be read, or the address is none of the cluster's nodes
            where that matters.
    """
    variables = _Variables(names, environ)
    rank, world = variables.plain("RANK", 0), variables.plain("WORLD_SIZE", 1)
    if not 0 <= rank < world:
        raise ConfigurationError(f"RANK={rank} has to be below WORLD_SIZE={world}, and 0 or more")
    host, port = variables.text("HOST") or "localhost", variables.port()
    source = variables.source(host, port)
    local = (variables.text("LOCAL") or "").lower() not in _OFF
    listed = variables.shards()
    with closing(open_database(source)) as database:
        topology = database.topology()
    node = _node_at(topology, host, port)
    if node is None:
        if local:
            known = ", ".join(sorted(f"{n.host}:{n.port}" for n in topology.nodes))
            raise ConfigurationError(
                f"{names('LOCAL')} is set, but {host}:{port} is none of the cluster's nodes: "
                f"set {names('HOST')} to one of {known}"
            )
        node = topology.nodes[rank % len(topology.nodes)]
    return Assignment(
        job=job,
        generation=generation,
        rank=rank,
        world_size=world,
        source=source,
        node=node,
        shards=_shards(names, topology, node, listed, local, rank, world),
        nodes=topology.nodes,
        locality="Required" if local else "Ignored",
        rows=None if local or listed is not None else topology.rows,
        master=(environ.get("MASTER_ADDR") or "127.0.0.1", variables.plain("MASTER_PORT", 0)),
        page_rows=variables.page_rows(),
        training=ALONE,
    )


def _shards(
    names: Names,
    topology: Topology,
    node: DatabaseNode,
    listed: tuple[ShardId, ...] | None,
    local: bool,
    rank: int,
    world: int,
) -> tuple[Shard, ...]:
    if listed is not None:
        shards = {shard.id: shard for shard in refit(names.kind, topology, listed).shards}
        if unknown := [shard for shard in listed if shard not in shards]:
            raise ConfigurationError(
                f"{names(names.shards)} names {unknown[0]}, but there are {len(shards)} of them"
            )
        return tuple(shards[shard] for shard in listed)
    if local:
        return tuple(shard for shard in topology.shards if shard.owners[:1] == (node.id,))
    return topology.shards[rank::world]


def _node_at(topology: Topology, host: str, port: int) -> DatabaseNode | None:
    """The node that answers at an address; a single-node cluster needs no second look."""
    if len(topology.nodes) == 1:
        only = topology.nodes[0]
        return DatabaseNode(only.id, host, port)
    asked = _addresses(host)
    for node in topology.nodes:
        if node.port == port and (node.host == host or asked & _addresses(node.host)):
            return node
    return None


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()  # A name only other machines know: it can't be the one that was asked for.


class _Variables:
    """Reads and checks single values; every error names the variable."""

    def __init__(self, names: Names, environ: Mapping[str, str]) -> None:
        self._names = names
        self._environ = environ

    def text(self, name: str) -> str | None:
        """An empty value is an unset one."""
        return self._environ.get(self._names(name)) or None

    def plain(self, name: str, default: int) -> int:
        """A whole number, of a variable that belongs to no database."""
        return self._integer(name, default)

    def port(self) -> int:
        name = self._names("PORT")
        port = self._integer(name, self._names.port)
        if not 0 < port < 65_536:
            raise ConfigurationError(f"{name}={port} is no port: 1 to 65535")
        return port

    def page_rows(self) -> int | None:
        name = self._names("PAGE_SIZE")
        rows = self._integer(name, 0)
        if rows < 0:
            raise ConfigurationError(f"{name}={rows} is no number of rows")
        return rows or None

    def shards(self) -> tuple[ShardId, ...] | None:
        text = self.text(self._names.shards)
        if text is None:
            return None
        try:
            return self._names.parse(text)
        except ValueError as error:
            name = self._names(self._names.shards)
            raise ConfigurationError(f"{name}: {error} (-1 is all there are)") from error

    def source(self, host: str, port: int) -> DataSource:
        user, password = self.text("USERNAME"), self.text("PASSWORD")
        return DataSource(
            kind=self._names.kind,
            endpoints=((host, port),),
            table=".".join(self._environ[self._names(part)] for part in self._names.table),
            credentials=Credentials(user, password or "") if user else None,
            tls=self._tls(),
            options={
                option.lower(): value
                for option in self._names.options
                if (value := self.text(option)) is not None
            },
        )

    def _tls(self) -> Tls | None:
        ca, certificate = self.text("CAFILE"), self.text("CERTFILE")
        key = self.text("KEYFILE")
        if key and not certificate:
            raise ConfigurationError(
                f"{self._names('KEYFILE')} is set: {self._names('CERTFILE')} has to name the "
                "certificate that belongs to the key"
            )
        if not ca and not certificate:
            return None
        return Tls(
            ca=Path(ca) if ca else None,
            certificate=Path(certificate) if certificate else None,
            key=Path(key) if key else None,
            key_password=self.text("CERT_PASSWORD"),
        )

    def _integer(self, name: str, default: int) -> int:
        value = self._environ.get(name) or str(default)
        try:
            return int(value)
        except ValueError as error:
            raise ConfigurationError(f"{name}={value!r} is not a whole number") from error
