"""The driver, for control only: questions to any node or to a chosen one, and who is up."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Collection
from typing import Any, Self

from cassandra import ConsistencyLevel, InvalidRequest, Unauthorized
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import (
    ConstantReconnectionPolicy,
    FallthroughRetryPolicy,
    RoundRobinPolicy,
)
from cassandra.pool import Host
from cassandra.query import SimpleStatement, named_tuple_factory

from insitu.databases import DataSource, tls
from insitu.databases.cassandra.cluster.faults import FAILURES, explain, hung_up, is_end
from insitu.errors import ConfigurationError, DatabaseUnavailable, InsituError
from insitu.topology import NodeId

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
#: A node that is killed counts as down after this, at the latest.
_HEARTBEAT_SECONDS = 2.0

# What the driver has to say is in our errors; an application's own handlers still hear it.
logging.getLogger("cassandra").addHandler(logging.NullHandler())


class Control:
    """A session with every node. Close it; thread-safe."""

    def __init__(self, cluster: Cluster, session: Session, source: DataSource) -> None:
        self._cluster = cluster
        self._session = session
        self._source = source

    @classmethod
    def open(cls, source: DataSource) -> Self:
        """Connects to the first endpoint that answers, and to all nodes it names.

        Raises:
            ConfigurationError: `source` names no endpoint.
            AuthenticationError: a certificate or the login is refused.
            DatabaseUnavailable: no endpoint answers.
        """
        if not source.endpoints:
            raise ConfigurationError("no endpoint is given: name one Cassandra node as host:port")
        failures: list[DatabaseUnavailable] = []
        for host, port in source.endpoints:
            try:
                _knock(host, port, source)
                return cls._through(host, port, source)
            except DatabaseUnavailable as failure:
                failures.append(failure)
        if len(failures) == 1:
            raise failures[0]
        raise DatabaseUnavailable(
            "no Cassandra endpoint answers:\n" + "\n".join(f"  {failure}" for failure in failures)
        )

    @classmethod
    def _through(cls, host: str, port: int, source: DataSource) -> Self:
        login = source.credentials
        cluster = Cluster(
            [host],
            port=port,
            protocol_version=4,
            compression=False,
            auth_provider=(
                PlainTextAuthProvider(login.username, login.password) if login else None
            ),
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
            idle_heartbeat_timeout=_ANSWER_SECONDS,
            topology_event_refresh_window=0,
            status_event_refresh_window=0,
            # Read by ourselves, from one node at a time.
            schema_metadata_enabled=False,
            token_metadata_enabled=False,
        )
        try:
            return cls(cluster, cluster.connect(), source)
        except FAILURES as error:
            cluster.shutdown()
            where = spelled(host, port)
            if is_end(error) and (meant := hung_up(where, source.tls, (host, port))):
                raise meant from error
            raise explain(error, where, login) from error

    def rows(
        self, statement: str, *arguments: object, node: NodeId | None = None, page_rows: int = 5000
    ) -> list[Any]:
        """All rows of a CQL statement as named tuples; of any node, or of that one alone.

        Raises:
            AuthenticationError: the role may not do this.
            ConfigurationError: the servers don't know the statement or a name in it.
            DatabaseUnavailable: the node does not answer.
        """
        host = self._host(node) if node is not None else None
        where = spelled(host.address, host.endpoint.port) if host else self._endpoint
        try:
            prepared = SimpleStatement(statement, fetch_size=page_rows)
            return list(self._session.execute(prepared, arguments or None, host=host))
        except FAILURES as error:
            raise explain(error, where, self._source.credentials) from error

    def optional_rows(self, statement: str, *arguments: object, node: NodeId) -> list[Any] | None:
        """As `rows`; None where this server has no such table, or does not show it to the role."""
        host = self._host(node)
        try:
            return list(self._session.execute(statement, arguments or None, host=host))
        except (Unauthorized, InvalidRequest):
            return None
        except FAILURES as error:
            where = spelled(host.address, host.endpoint.port)
            raise explain(error, where, self._source.credentials) from error

    def up(self, known: Collection[NodeId]) -> frozenset[NodeId]:
        """Which of the `known` nodes can be reached now."""
        hosts = self._hosts()
        if known - hosts.keys():
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

    @property
    def _endpoint(self) -> str:
        return spelled(*self._source.endpoints[0])

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

    def _is_up(self, host: Host, node: NodeId) -> bool:
        if host.is_up is not None:
            return bool(host.is_up)
        # The driver has not found out yet.
        try:
            self.rows("SELECT host_id FROM system.local", node=node)
        except InsituError:
            return False
        return True


def spelled(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _knock(host: str, port: int, source: DataSource) -> None:
    """Opens and closes a connection, for errors that say more than the driver's."""
    where = spelled(host, port)
    try:
        sock = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
    except socket.gaierror as error:
        raise DatabaseUnavailable(
            f"Cassandra at {where}: the name '{host}' can't be resolved ({error.strerror})"
        ) from error
    except OSError as error:
        raise DatabaseUnavailable(
            f"Cassandra at {where} can't be reached: {error.strerror or error}"
        ) from error
    with sock:
        if source.tls is not None:
            try:
                tls.wrap(sock, host, f"Cassandra at {where}", source.tls).close()
            except OSError as error:
                raise DatabaseUnavailable(f"Cassandra at {where}: {error}") from error
