"""Starts the database and waits for it; its pods are reachable from this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cassandra.cluster import Session

from insitu.databases import Credentials, DataSource
from testbed.cassandra.clients import NotReady, connect, peers_of, sees_all_up
from testbed.cassandra.configuration import NATIVE_PORT, Settings
from testbed.cassandra.jars import jars
from testbed.cluster import stateful_sets
from testbed.cluster.cassandra.image import image
from testbed.cluster.cassandra.manifests import Deployment, manifests, volumes
from testbed.cluster.cluster import Cluster
from testbed.cluster.stateful_sets import Pod, StatefulSet

_BOOT_SECONDS = 240.0
_FIRST_USER = Credentials("cassandra", "cassandra")


def start(
    cluster: Cluster,
    namespace: str,
    replicas: int = 3,
    *,
    name: str = "cassandra",
    nodes: Sequence[str] = (),
    spread: bool = True,
    vnodes: int = 16,
    heap_mb: int = 256,
    authentication: bool = False,
) -> Database:
    """Creates the objects in a namespace that exists, and returns when all nodes see each other.

    A node reads its own copy of what it is asked for: `dynamic_snitch` is off, and the snitch puts
    the asked node first.

    Args:
        cluster: Has `image()` on its nodes.
        namespace: Of all objects; they go when it is deleted, but for the nodes' data, which goes
            with the cluster.
        replicas: How many pods.
        name: Of the StatefulSet and of the Service that a TrainingJob names.
        nodes: Names of the nodes that pods may be on; any when left out.
        spread: No two pods on one node.
        vnodes: Tokens a node.
        heap_mb: Java heap of a pod, MiB.
        authentication: Clients have to log in; see `Database.credentials`.

    Raises:
        StartFailed: that did not come about in time; the message says which pod lacks what.
    """
    folder = cluster.folder / "volumes" / namespace
    settings = Settings(vnodes=vnodes, heap_mb=heap_mb, authentication=authentication)
    pods = StatefulSet(namespace, name, replicas, tuple(nodes), spread)
    deployment = Deployment(pods, image().name, jars(), folder, settings)
    for pod in pods.names:
        (folder / pod).mkdir(parents=True)
        (folder / pod).chmod(0o777)  # Pods write as a user that this machine does not know.
    cluster.kubectl.apply(*volumes(deployment))
    database = Database(cluster, deployment)
    cluster.wait(database.unbound)
    cluster.kubectl.apply(*manifests(deployment))
    database.wait_ready()
    return database


@dataclass(frozen=True, slots=True)
class Database:
    """`service` and `port` are what a TrainingJob in the same namespace names."""

    cluster: Cluster = field(repr=False)
    deployment: Deployment = field(repr=False)
    port: int = NATIVE_PORT

    @property
    def namespace(self) -> str:
        return self.deployment.pods.namespace

    @property
    def service(self) -> str:
        return self.deployment.pods.name

    @property
    def credentials(self) -> Credentials | None:
        """Of the user who may do everything; None where nobody has to log in."""
        return _FIRST_USER if self.deployment.settings.authentication else None

    @property
    def pods(self) -> list[Pod]:
        """Those that have an address, in the order of their names."""
        return stateful_sets.pods(self.cluster.kubectl, self.deployment.pods)

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """Of all pods, as of now; reachable from this machine."""
        return tuple((pod.ip, self.port) for pod in self.pods)

    def source(self, table: str, columns: Sequence[str] | None = None) -> DataSource:
        """What reads `table` (`keyspace.table`) from this machine."""
        chosen = tuple(columns) if columns is not None else None
        return DataSource(
            kind="cassandra", endpoints=self.endpoints, table=table, columns=chosen,
            credentials=self.credentials, tls=None,
        )  # fmt: skip

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A driver session on the pods of now, for set-up and as an independent witness."""
        with connect([pod.ip for pod in self.pods], self.credentials) as session:
            yield session

    def cql(self, statement: str, *arguments: object) -> list[Any]:
        """Runs one statement and returns its rows as tuples."""
        with self.session() as session:
            return list(session.execute(statement, arguments or None))

    def keyspace(self, name: str, replicas: int = 1) -> None:
        """Creates it, with SimpleStrategy."""
        replication = {"class": "SimpleStrategy", "replication_factor": replicas}
        self.cql(f"CREATE KEYSPACE {name} WITH replication = {replication}")

    def delete(self, pod: str) -> None:
        """Has a pod replaced by one of the same name; returns when the old one is gone."""
        self.cluster.kubectl("delete", "pod", "-n", self.namespace, pod)

    def unbound(self) -> str | None:
        """A problem while a claim has no volume."""
        labels = self.deployment.pods.selector
        claims = self.cluster.kubectl.items("pvc", "-n", self.namespace, "-l", labels)
        phases = {claim["metadata"]["name"]: claim["status"].get("phase") for claim in claims}
        return None if set(phases.values()) == {"Bound"} else f"claims are {phases}"

    def wait_ready(self, timeout: float = _BOOT_SECONDS) -> None:
        """Returns when all pods are Ready, and each sees exactly all of them, and sees them up.

        Raises:
            StartFailed: that did not come about in time.
        """
        self.cluster.wait(self._problem, timeout)

    def wait_settled(self, timeout: float = _BOOT_SECONDS) -> None:
        """The same: a node that comes back has kept its data, so that no ranges move.

        Raises:
            StartFailed: that did not come about in time.
        """
        self.wait_ready(timeout)

    def _problem(self) -> str | None:
        if problem := stateful_sets.unready(self.cluster.kubectl, self.deployment.pods):
            return problem
        pods = self.pods
        expected = {pod.ip for pod in pods}
        for pod in pods:
            try:
                with connect([pod.ip], self.credentials) as session:
                    seen, up = peers_of(session), sees_all_up(session)
            except NotReady as broken:
                return str(broken)
            if seen != expected:
                return f"{pod.name} sees {sorted(seen)} instead of {sorted(expected)}"
            if not up:
                return f"{pod.name} holds another one for down"
        return None
