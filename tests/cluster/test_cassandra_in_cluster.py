"""Cassandra as a StatefulSet, and what only it can refuse a job."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from insitu.databases import connect
from insitu.topology import Topology
from testbed.cluster import Cluster, Image, cassandra
from tests.cluster.conftest import NAMES
from tests.cluster.databases import CASSANDRA
from tests.cluster.manifests import Space
from tests.cluster.sites import TABLE, Release, Site, restricted
from tests.cluster.submitted import Json, Submitted

pytestmark = [pytest.mark.cluster, pytest.mark.cassandra, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class Guarded:
    """A database of one pod where clients have to log in, and the namespace it is in."""

    site: Site
    database: cassandra.Database

    def role(self, name: str, password: str) -> None:
        """Who may log in, and nothing else."""
        self.database.cql(f"CREATE ROLE {name} WITH PASSWORD = '{password}' AND LOGIN = true")

    def login(self, username: str, password: str) -> None:
        """What jobs log in with."""
        values = {"username": username, "password": password}
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        metadata = {"name": "login", "annotations": {"insitu.dev/hosts": "*"}}
        secret: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        self.site.space.apply(secret | {"data": encoded})

    def submit(self, name: str) -> Submitted:
        data = self.site.data(credentials={"secretName": "login"})
        return self.site.submit(name, data=data)


@pytest.fixture(scope="module")
def guarded(equipped: Cluster, release: Release, trainer_image: Image) -> Iterator[Guarded]:
    with restricted(equipped, trainer_image.name, "guarded") as space:
        database = cassandra.start(equipped, space.name, 1, authentication=True)
        CASSANDRA.fill(database, TABLE, 100, copies=1)
        yield Guarded(Site(Space(equipped, space.name, trainer_image.name), CASSANDRA), database)


def topology(database: cassandra.Database) -> Topology:
    """As this machine reads it, through routes to the pods."""
    with closing(connect(database.source(CASSANDRA.qualified(TABLE)))) as source:
        return source.topology()


def test_a_deleted_pod_comes_back_as_the_same_database_node_with_its_rows(
    shared_cassandra: cassandra.Database,
) -> None:
    assert {pod.node for pod in shared_cassandra.pods} == set(NAMES)
    before = {node.id: node.host for node in topology(shared_cassandra).nodes}
    gone = shared_cassandra.pods[0]
    shared_cassandra.delete(gone.name)
    shared_cassandra.wait_settled()
    found = topology(shared_cassandra)
    after = {node.id: node.host for node in found.nodes}
    assert after.keys() == before.keys()
    assert set(after.values()) == {pod.ip for pod in shared_cassandra.pods}
    assert [before[id_] for id_ in before if after[id_] != before[id_]] == [gone.ip]
    assert found.orphans == ()


def test_a_password_that_is_wrong(guarded: Guarded) -> None:
    guarded.role("ann", "right")
    guarded.database.cql(f'GRANT SELECT ON TABLE "{TABLE}"."{TABLE}" TO ann')
    guarded.database.cql("GRANT SELECT ON KEYSPACE system_views TO ann")
    guarded.login("ann", "wrong")
    job = guarded.submit("locked-out")
    said = job.until_says("AccessDenied", "refused the login", "ann")
    assert "wrong" not in said
    guarded.login("ann", "right")
    job.until_complete()
    job.delete()


def test_a_role_that_may_not_read_the_table(guarded: Guarded) -> None:
    guarded.role("bob", "right")
    guarded.login("bob", "right")
    job = guarded.submit("unprivileged")
    job.until_says("AccessDenied", "GRANT SELECT ON", TABLE, "TO bob")
    guarded.database.cql(f'GRANT SELECT ON TABLE "{TABLE}"."{TABLE}" TO bob')
    guarded.database.cql("GRANT SELECT ON KEYSPACE system_views TO bob")
    job.until_complete()
    job.delete()
