"""What a user sees when the way into a real Ignite is not the right one."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from insitu.databases import Credentials, DataSource, Tls, connect
from insitu.databases.ignite.protocol import sql
from insitu.databases.ignite.protocol.connection import Connection
from insitu.errors import AuthenticationError, ConfigurationError, DatabaseUnavailable
from testbed.ignite import Cluster
from tests.databases.forwarding import forwarded

pytestmark = pytest.mark.ignite

Start = Callable[..., Cluster]


def opened(cluster: Cluster, **changes: object) -> Connection:
    """A connection to the first node, with some of what it needs replaced."""
    arguments = {"credentials": cluster.credentials, "tls": cluster.tls} | changes
    host, port = cluster.endpoints[0]
    return Connection.open(host, port, **arguments)  # type: ignore[arg-type]


def once_listening(host: str, port: int) -> Connection:
    """Nothing listens at first; from then on the node refuses logins until it is ready."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(DatabaseUnavailable):
            return Connection.open(host, port)
        assert time.monotonic() < deadline


def test_each_endpoint_leads_to_its_own_node(ignite: Cluster) -> None:
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(Connection.open(*at)) for at in ignite.endpoints]
        runs = {run for (run,) in sql.query(connections[0], "SELECT NODE_ID FROM SYS.NODES")}
        assert {connection.node for connection in connections} == runs


def test_a_password_lets_in(ignite_auth: Cluster) -> None:
    with opened(ignite_auth) as connection:
        assert sql.query(connection, "SELECT 1") == [(1,)]


def test_a_wrong_password_is_said_without_the_password(ignite_auth: Cluster) -> None:
    with pytest.raises(AuthenticationError, match="refused user 'ignite'") as caught:
        opened(ignite_auth, credentials=Credentials("ignite", "s3cret-guess"))
    assert "s3cret" not in str(caught.value)


def test_no_password_is_asked_for(ignite_auth: Cluster) -> None:
    with pytest.raises(AuthenticationError, match="asks for a user name and a password"):
        opened(ignite_auth, credentials=None)


def test_tls_lets_in_with_the_right_certificates(ignite_tls: Cluster) -> None:
    with opened(ignite_tls) as connection:
        assert sql.query(connection, "SELECT 1") == [(1,)]


def test_a_server_of_an_unknown_authority_is_not_trusted(ignite_tls: Cluster) -> None:
    assert ignite_tls.certificates is not None
    with pytest.raises(AuthenticationError, match=r"not signed by the authority in .*pem"):
        opened(ignite_tls, tls=ignite_tls.certificates.untrusted)


def test_without_an_authority_the_systems_own_count(ignite_tls: Cluster) -> None:
    with pytest.raises(AuthenticationError, match="any authority this machine trusts"):
        opened(ignite_tls, tls=Tls())


def test_a_certificate_for_another_name_is_refused(ignite_tls: Cluster) -> None:
    with (
        forwarded(ignite_tls.endpoints[0]) as (host, port),
        pytest.raises(AuthenticationError, match=f"not for the name '{host}'"),
    ):
        Connection.open(host, port, tls=ignite_tls.tls)


def test_a_server_that_wants_a_certificate_says_so_through_us(ignite_tls: Cluster) -> None:
    assert ignite_tls.tls is not None
    with pytest.raises(AuthenticationError, match=r"give tls\.certificate and tls\.key"):
        opened(ignite_tls, tls=Tls(ca=ignite_tls.tls.ca))


def test_a_certificate_the_server_does_not_trust_is_told(ignite_tls: Cluster) -> None:
    assert ignite_tls.tls is not None
    assert ignite_tls.certificates is not None
    other = dataclasses.replace(ignite_tls.certificates.untrusted, ca=ignite_tls.tls.ca)
    with pytest.raises(AuthenticationError, match="does not accept the client certificate"):
        opened(ignite_tls, tls=other)


def test_a_plain_client_at_a_tls_port_is_told(ignite_tls: Cluster) -> None:
    with pytest.raises(AuthenticationError, match="speaks TLS only"):
        opened(ignite_tls, tls=None)


def test_a_tls_client_at_a_plain_port_is_told(ignite: Cluster, ignite_tls: Cluster) -> None:
    with pytest.raises(AuthenticationError, match="does not speak TLS"):
        opened(ignite, tls=ignite_tls.tls)


@pytest.mark.parametrize("name", ["ca", "certificate", "key"])
def test_a_missing_file_is_named(ignite_tls: Cluster, name: str) -> None:
    assert ignite_tls.tls is not None
    tls = dataclasses.replace(ignite_tls.tls, **{name: Path("/no/such.pem")})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=f"tls.{name}: there is no file"):
        opened(ignite_tls, tls=tls)


def test_a_key_of_another_certificate_is_told(ignite_tls: Cluster) -> None:
    assert ignite_tls.tls is not None
    assert ignite_tls.certificates is not None
    tls = dataclasses.replace(ignite_tls.tls, key=ignite_tls.certificates.untrusted.key)
    with pytest.raises(ConfigurationError, match="can't be used together"):
        opened(ignite_tls, tls=tls)


def test_a_node_is_waited_for_while_it_starts(fresh_ignite: Start) -> None:
    cluster = fresh_ignite(nodes=1)
    node = cluster.nodes[0]
    node.stop()
    node.start()
    with once_listening(node.host, node.port) as connection:
        assert sql.query(connection, "SELECT 1") == [(1,)]


def test_a_database_that_is_down_names_every_endpoint(fresh_ignite: Start) -> None:
    cluster = fresh_ignite(nodes=2)
    source = cluster.source("T")
    cluster.nodes[0].kill()
    with contextlib.closing(connect(source)) as database, pytest.raises(ConfigurationError):
        database.count()  # the second endpoint answered
    cluster.nodes[1].kill()
    with (
        contextlib.closing(connect(source)) as database,
        pytest.raises(DatabaseUnavailable) as caught,
    ):
        database.topology()
    assert all(host in str(caught.value) for host, _ in source.endpoints)


def test_a_connection_that_broke_is_opened_again_elsewhere(fresh_ignite: Start) -> None:
    cluster = fresh_ignite(nodes=2)
    cluster.sql("CREATE TABLE T (ID INT PRIMARY KEY, V INT)")
    with contextlib.closing(connect(cluster.source("T"))) as database:
        assert database.count() == 0
        cluster.nodes[0].kill()
        assert database.count() == 0


def test_a_source_without_endpoints_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no endpoint"):
        connect(DataSource("ignite", (), "T"))
