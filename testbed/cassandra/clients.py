"""Driver sessions for set-up and as an independent witness."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence

from cassandra import ConsistencyLevel, DriverException
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    Session,
)
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import SimpleStatement, tuple_factory

from insitu.databases import Credentials, Tls
from testbed.cassandra.configuration import NATIVE_PORT

_SECONDS = 30.0


class NotReady(Exception):
    """The node does not answer yet, or refuses; the message says how."""


@contextlib.contextmanager
def connect(
    hosts: Sequence[str], credentials: Credentials | None = None, tls: Tls | None = None
) -> Iterator[Session]:
    """A session that asks only `hosts`; rows are tuples.

    Raises:
        NotReady: none of them takes requests yet, or they refuse this client.
    """
    for host in hosts:
        _knock(host)
    cluster = Cluster(
        list(hosts),
        port=NATIVE_PORT,
        protocol_version=4,
        auth_provider=(
            PlainTextAuthProvider(credentials.username, credentials.password)
            if credentials
            else None
        ),
        ssl_context=client_context(tls) if tls else None,
        ssl_options={"server_hostname": hosts[0]} if tls else None,
        execution_profiles={
            EXEC_PROFILE_DEFAULT: ExecutionProfile(
                load_balancing_policy=WhiteListRoundRobinPolicy(list(hosts)),
                request_timeout=_SECONDS,
                row_factory=tuple_factory,
            )
        },
        connect_timeout=_SECONDS,
        control_connection_timeout=_SECONDS,
    )
    try:
        session = cluster.connect()
    except (NoHostAvailable, DriverException, OSError) as problem:
        cluster.shutdown()
        raise NotReady(f"{', '.join(hosts)}: {problem}") from problem
    try:
        yield session
    finally:
        cluster.shutdown()


def peers_of(session: Session) -> set[str]:
    """Addresses of all nodes with tokens in the cluster, as the asked node knows them."""
    local = session.execute("SELECT broadcast_address, tokens FROM system.local").all()
    peers = session.execute("SELECT peer, tokens FROM system.peers_v2").all()
    return {str(address) for address, tokens in [*local, *peers] if tokens}


def sees_all(
    host: str,
    port: int,  # noqa: ARG001 - every node's is the same
    members: set[str],
    credentials: Credentials | None,
    tls: Tls | None,
) -> bool:
    """Whether the node takes requests and sees all `members` up."""
    try:
        with connect([host], credentials, tls) as session:
            return peers_of(session) >= members and sees_all_up(session)
    except NotReady:
        return False


def sees_all_up(session: Session) -> bool:
    """Whether the asked node can read all ranges of a keyspace without copies, at this moment."""
    try:
        # ONE: a copy in another datacenter will do.
        session.execute(
            SimpleStatement(
                "SELECT role FROM system_auth.roles", consistency_level=ConsistencyLevel.ONE
            )
        )
    except (DriverException, NoHostAvailable):
        return False
    return True


def client_context(tls: Tls) -> ssl.SSLContext:
    """A context that verifies the server and shows the client's certificate, if there is one."""
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key, tls.key_password)
    return context


def _knock(host: str) -> None:
    """Asks whether the port is open, without the driver's retries and warnings."""
    try:
        socket.create_connection((host, NATIVE_PORT), timeout=5.0).close()
    except OSError as problem:
        raise NotReady(f"{host}:{NATIVE_PORT}: {problem}") from problem
