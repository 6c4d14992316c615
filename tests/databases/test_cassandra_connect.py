"""What can't be opened says why, and what would be right."""

from __future__ import annotations

import contextlib
import dataclasses

import pyarrow as pa
import pytest

from insitu.databases import Credentials, DataSource, connect
from insitu.errors import AuthenticationError, ConfigurationError, DatabaseUnavailable
from testbed.cassandra import Cluster
from tests.databases.forwarding import forwarded

# Booting counts as part of the first test that needs a cluster.
pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(600)]

TABLE = "connect.t"


def with_table(cluster: Cluster) -> Cluster:
    cluster.keyspace("connect")
    cluster.cql("CREATE TABLE connect.t (id int PRIMARY KEY, label text, data blob)")
    return cluster


@pytest.fixture(scope="module")
def plain(cassandra: Cluster) -> Cluster:
    return with_table(cassandra)


@pytest.fixture(scope="module")
def tls(cassandra_tls: Cluster) -> Cluster:
    return with_table(cassandra_tls)


@pytest.fixture(scope="module")
def auth(cassandra_auth: Cluster) -> Cluster:
    return with_table(cassandra_auth)


def refused(source: DataSource, error: type[Exception], problem: str) -> None:
    """Schema and topology both have to say it."""
    with contextlib.closing(connect(source)) as database:
        for ask in (database.schema, database.topology):
            with pytest.raises(error, match=problem):
                ask()


def with_login(cluster: Cluster, username: str, password: str) -> DataSource:
    return dataclasses.replace(cluster.source(TABLE), credentials=Credentials(username, password))


def test_the_schema_has_the_key_first(plain: Cluster) -> None:
    with contextlib.closing(connect(plain.source(TABLE))) as database:
        assert database.schema().equals(
            pa.schema([("id", pa.int32()), ("data", pa.binary()), ("label", pa.string())])
        )
        assert database.count() is None


def test_only_the_columns_that_were_asked_for_are_there(plain: Cluster) -> None:
    with contextlib.closing(connect(plain.source(TABLE, ["label", "id"]))) as database:
        assert database.schema().names == ["label", "id"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("conect.t", r"no keyspace 'conect' \(did you mean 'connect'\?\)"),
        ("connect.tt", r"keyspace 'connect' has no table 'tt' \(did you mean 't'\?\)"),
        ("system.local", "keyspace 'system' is local to each node"),
        ("system_views.clients", "is a virtual table"),
    ],
)
def test_a_table_that_is_none_is_refused(plain: Cluster, table: str, problem: str) -> None:
    refused(plain.source(table), ConfigurationError, problem)


def test_a_materialized_view_is_refused(plain: Cluster) -> None:
    plain.cql(
        "CREATE MATERIALIZED VIEW connect.v AS SELECT * FROM connect.t"
        " WHERE id IS NOT NULL AND label IS NOT NULL PRIMARY KEY (label, id)"
    )
    problem = "is a materialized view, .* Train on its table connect.t"
    refused(plain.source("connect.v"), ConfigurationError, problem)


def test_an_unknown_column_is_refused(plain: Cluster) -> None:
    with contextlib.closing(connect(plain.source(TABLE, ["id", "lable"]))) as database:
        problem = r"connect.t has no column 'lable' \(did you mean 'label'\?\)"
        with pytest.raises(ConfigurationError, match=problem):
            database.schema()


def test_a_name_without_a_keyspace_and_an_unknown_option_are_refused(plain: Cluster) -> None:
    with pytest.raises(ConfigurationError, match=r"table 't': write keyspace\.table"):
        connect(plain.source("t"))
    source = dataclasses.replace(plain.source(TABLE), options={"datacentre": "x"})
    with pytest.raises(ConfigurationError, match=r"'datacentre' is not known .* 'datacenter'"):
        connect(source)


def test_a_condition_that_is_no_cql_is_refused(plain: Cluster) -> None:
    source = dataclasses.replace(plain.source(TABLE), options={"where": "lable = 'x'"})
    with (
        contextlib.closing(connect(source)) as database,
        pytest.raises(ConfigurationError, match="lable"),
    ):
        database.schema()


def test_wrong_and_missing_credentials_are_refused(auth: Cluster) -> None:
    refused(with_login(auth, "cassandra", "wrong"), AuthenticationError, "refused the")
    nobody = dataclasses.replace(auth.source(TABLE), credentials=None)
    refused(nobody, AuthenticationError, "asks for a user name and a password")


def test_a_role_that_may_not_read_names_the_grant_and_one_that_may_needs_no_more(
    auth: Cluster,
) -> None:
    auth.cql("CREATE ROLE reader WITH PASSWORD = 'secret' AND LOGIN = true")
    source = with_login(auth, "reader", "secret")
    refused(source, AuthenticationError, "GRANT SELECT ON table connect.t TO reader")
    auth.cql("GRANT SELECT ON TABLE connect.t TO reader")
    with contextlib.closing(connect(source)) as database:
        assert database.schema().names[0] == "id"
        assert len(database.topology().nodes) == 1


def test_certificates_are_verified_on_both_sides(tls: Cluster) -> None:
    good = tls.source(TABLE)
    assert tls.certificates is not None
    with contextlib.closing(connect(good)) as database:
        assert database.topology().nodes
    untrusted = tls.certificates.untrusted
    refused(dataclasses.replace(good, tls=untrusted), AuthenticationError, "is not signed by")
    assert good.tls is not None
    stranger = dataclasses.replace(good.tls, certificate=untrusted.certificate, key=untrusted.key)
    refused(dataclasses.replace(good, tls=stranger), AuthenticationError, "certificate")
    refused(dataclasses.replace(good, tls=None), AuthenticationError, "speaks TLS only")


def test_a_certificate_for_another_name_is_refused(tls: Cluster) -> None:
    with forwarded(tls.endpoints[0]) as elsewhere:
        source = dataclasses.replace(tls.source(TABLE), endpoints=(elsewhere,))
        database = connect(source)
        with pytest.raises(AuthenticationError, match=f"not for the name '{elsewhere[0]}'"):
            database.schema()


def test_an_endpoint_that_is_down_is_passed_over(plain: Cluster) -> None:
    dead = plain.nodes[0].host.rsplit(".", 1)[0] + ".200"
    source = plain.source(TABLE)
    first = dataclasses.replace(source, endpoints=((dead, 9042), *source.endpoints))
    with contextlib.closing(connect(first)) as database:
        assert len(database.topology().nodes) == 3
    refused(
        dataclasses.replace(source, endpoints=((dead, 9042), (dead, 9043))),
        DatabaseUnavailable,
        rf"no Cassandra endpoint answers:\n.*{dead}:9042.*\n.*{dead}:9043",
    )
