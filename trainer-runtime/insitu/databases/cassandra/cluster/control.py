"""The driver, for control only: questions to any node or to a chosen one, and who is up."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Mapping
from typing import Any, Self

from cassandra import ConsistencyLevel, InvalidRequest, Unauthorized
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    DefaultConnection,
    ExecutionProfile,
    ResponseFuture,
    Session,
)
from cassandra.connection import ConnectionShutdown, ProtocolError
from cassandra.policies import (
    ConstantReconnectionPolicy,
    FallthroughRetryPolicy,
    RoundRobinPolicy,
)
from cassandra.pool import Host
from cassandra.query import PreparedStatement, SimpleStatement, Statement, named_tuple_factory

from insitu.databases import DataSource, tls
from insitu.databases.cassandra.cluster.endpoints import first_answering
from insitu.databases.cassandra.cluster.faults import FAILURES, explain
from insitu.databases.cassandra.protocol.connection import CONTROL_BYTES
from insitu.databases.sockets import spelled
from insitu.errors import DatabaseUnavailable, InsituError
from insitu.topology import NodeId

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
#: A node whose process is killed counts as down after this, at the latest.
_HEARTBEAT_SECONDS = 2.0
#: One that falls silent, after this: shorter, and one that is busy would count as down.
_SILENCE_SECONDS = 20.0

# What the driver has to say is in our errors; an application's own handlers still hear it.
logging.getLogger("cassandra").addHandler(logging.NullHandler())


class Control:
    """A session with every node. Close it; thread-safe."""

    def __init__(self, cluster: Cluster, session: Session, where: str) -> None:
        self._cluster = cluster
        self._session = session
        self._where = where

    @classmethod
    def open(cls, source: DataSource) -> Self:
        """Connects to the first endpoint that answers, and to all nodes it names.

        Raises:
            ConfigurationError: `source` names no endpoint.
            AuthenticationError: a certificate or the login is refused.
            DatabaseUnavailable: no endpoint answers.
        """
        # Our own connection says more about what is wrong than the driver does.
        connection, (host, port) = first_answering(source, _CONNECT_SECONDS)
        connection.close()
        cluster = _cluster(host, port, source)
        where = spelled(host, port)
        try:
            return cls(cluster, cluster.connect(), where)
        except FAILURES as error:
            cluster.shutdown()
            raise explain(error, where) from error

    @property
    def where(self) -> str:
        """The endpoint that answered first, as `host:port`."""
        return self._where

    def rows(self, statement: str, *arguments: object, node: NodeId | None = None) -> list[Any]:
        """All rows of a CQL statement as named tuples; of any node, or of that one alone.

        Raises:
            AuthenticationError: the role may not do this.
            ConfigurationError: the servers don't know the statement or a name in it.
            DatabaseUnavailable: the node does not answer.
        """
        host = self._host(node) if node is not None else None
        try:
            return self._ask(statement, arguments, host)
        except FAILURES as error:
            raise explain(error, self._spelled(host)) from error

    def optional_rows(self, statement: str, *arguments: object, node: NodeId) -> list[Any] | None:
        """As `rows`; None where this server has no such table, or does not show it to the role."""
        host = self._host(node)
        try:
            return self._ask(statement, arguments, host)
        except (Unauthorized, InvalidRequest):
            return None
        except FAILURES as error:
            raise explain(error, self._spelled(host)) from error

    def mappings(self, statement: str, *, node: NodeId | None = None) -> list[Mapping[str, Any]]:
        """As `rows`, by column."""
        return [row._asdict() for row in self.rows(statement, node=node)]

    def prepare(self, statement: str) -> PreparedStatement:
        """A statement for `send`. Raises as `rows` does."""
        try:
            return self._session.prepare(statement)
        except FAILURES as error:
            raise explain(error, self._where) from error

    def send(self, statement: Statement, node: NodeId) -> ResponseFuture:
        """Begins to run it at `node`, or anywhere when that one is not known any more."""
        return self._session.execute_async(
            statement, host=self._hosts().get(node), timeout=_ANSWER_SECONDS
        )

    def up(self, known: Collection[NodeId]) -> frozenset[NodeId]:
        """Which of the `known` nodes can be reached now."""
        hosts = self._hosts()
        if not hosts.keys() >= set(known):
            with contextlib.suppress(*FAILURES):
                self._cluster.refresh_nodes()
            hosts = self._hosts()
        return frozenset(node for node in known if node in hosts and self._is_up(hosts[node], node))

    def contact(self) -> NodeId | None:
        """The node that the driver itself is connected to for news; None while it has none."""
        host = self._cluster.get_control_connection_host()
        return NodeId(str(host.host_id)) if host is not None and host.host_id else None

    def close(self) -> None:
        self._cluster.shutdown()

    def _ask(self, statement: str, arguments: tuple[object, ...], host: Host | None) -> list[Any]:
        if host is not None:
            self._connect_to(host)
        simple = SimpleStatement(statement)
        try:
            found = self._session.execute(simple, arguments or None, host=host)
        except ConnectionShutdown:
            # A node was away for a moment, which the driver notices when it next uses a connection.
            # Whatever is asked here may be asked twice.
            found = self._session.execute(simple, arguments or None, host=host)
        return list(found)

    def _connect_to(self, host: Host) -> None:
        """Makes sure of connections to `host`: the driver is still at it for a while at first."""
        if any(pool.host == host for pool in self._session.get_pools()):
            return
        future = self._session.add_or_renew_pool(host, is_host_addition=False)
        if future is not None:
            future.result(timeout=_CONNECT_SECONDS)

    def _hosts(self) -> dict[NodeId, Host]:
        return {
            NodeId(str(host.host_id)): host
            for host in self._cluster.metadata.all_hosts()
            if host.host_id
        }

    def _host(self, node: NodeId) -> Host:
        host = self._hosts().get(node)
        if host is None:
            raise DatabaseUnavailable(f"Cassandra node {node} is not known to the cluster now")
        return host

    def _spelled(self, host: Host | None) -> str:
        return spelled(host.address, host.endpoint.port) if host else self._where

    def _is_up(self, host: Host, node: NodeId) -> bool:
        if host.is_up is not None:
            return bool(host.is_up)
        # The driver has not found out yet.
        try:
            self.rows("SELECT host_id FROM system.local", node=node)
        except InsituError:
            return False
        return True


class _Bounded(DefaultConnection):  # type: ignore[misc] # the driver has no types
    """The driver's connection, which by itself takes replies of 2 GiB."""

    _current_frame: Any

    def _read_frame_header(self) -> int:
        read: int = super()._read_frame_header()
        frame = self._current_frame
        if frame is not None and frame.end_pos > CONTROL_BYTES:
            size, self._current_frame = frame.end_pos, None
            # Raised here it would reach nobody.
            self.defunct(
                ProtocolError(f"a reply of {size:,} bytes, and {CONTROL_BYTES:,} at most are taken")
            )
            return 0
        return read


def _cluster(host: str, port: int, source: DataSource) -> Cluster:
    login = source.credentials
    return Cluster(
        [host],
        port=port,
        connection_class=_Bounded,
        protocol_version=4,
        compression=False,
        auth_provider=PlainTextAuthProvider(login.username, login.password) if login else None,
        ssl_context=tls.client_context(source.tls) if source.tls else None,
        execution_profiles={
            EXEC_PROFILE_DEFAULT: ExecutionProfile(
                load_balancing_policy=RoundRobinPolicy(),
                retry_policy=FallthroughRetryPolicy(),
                consistency_level=ConsistencyLevel.LOCAL_ONE,
                request_timeout=_ANSWER_SECONDS,
                row_factory=named_tuple_factory,
            )
        },
        reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None),
        connect_timeout=_CONNECT_SECONDS,
        control_connection_timeout=_ANSWER_SECONDS,
        idle_heartbeat_interval=_HEARTBEAT_SECONDS,
        idle_heartbeat_timeout=_SILENCE_SECONDS,
        topology_event_refresh_window=0,
        status_event_refresh_window=0,
        # Read by ourselves, from one node at a time.
        schema_metadata_enabled=False,
        token_metadata_enabled=False,
    )
