"""Starts the database and waits for it; its pods are reachable from this machine."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyignite
from pyignite.exceptions import SQLError

from insitu.databases import DataSource
from testbed.cluster import stateful_sets
from testbed.cluster.cluster import Cluster
from testbed.cluster.ignite.image import image
from testbed.cluster.ignite.manifests import Deployment, manifests
from testbed.cluster.stateful_sets import Pod, StatefulSet
from testbed.ignite.configuration import THIN_PORT, Settings
from testbed.ignite.partitions import COPIES, MOVING, unsettled
from testbed.ignite.probe import NotReady, seen_from

_BOOT_SECONDS = 120.0


def start(
    cluster: Cluster,
    namespace: str,
    replicas: int = 3,
    *,
    name: str = "ignite",
    nodes: Sequence[str] = (),
    spread: bool = True,
    heap_mb: int = 128,
    region_mb: int = 128,
    partitions: Sequence[int] = (1, 7, 64, 100, 1024),
) -> Database:
    """Creates the objects in a namespace that exists, and returns when all pods have joined.

    Args:
        cluster: Has `image()` on its nodes.
        namespace: Of all objects; they go when it is deleted.
        replicas: How many pods.
        name: Of the StatefulSet and of the Service that a TrainingJob names.
        nodes: Names of the nodes that pods may be on; any when left out.
        spread: No two pods on one node.
        heap_mb: Java heap of a pod, MiB.
        region_mb: Memory for tables of a pod, MiB, outside the heap.
        partitions: For each N a cache template `pN`, as in `CREATE TABLE ... WITH "template=p64"`.
            Of tables of `safeN`, lost partitions stay lost, where others become empty ones.

    Raises:
        StartFailed: that did not come about in time; the message says which pod lacks what.
    """
    settings = Settings(heap_mb=heap_mb, region_mb=region_mb, partitions=tuple(partitions))
    pods = StatefulSet(namespace, name, replicas, tuple(nodes), spread)
    deployment = Deployment(pods, image().name, settings)
    cluster.kubectl.apply(*manifests(deployment))
    database = Database(cluster, deployment)
    database.wait_ready()
    return database


@dataclass(frozen=True, slots=True)
class Database:
    """`service` and `port` are what a TrainingJob in the same namespace names."""

    cluster: Cluster = field(repr=False)
    deployment: Deployment = field(repr=False)
    port: int = THIN_PORT

    @property
    def namespace(self) -> str:
        return self.deployment.pods.namespace

    @property
    def service(self) -> str:
        return self.deployment.pods.name

    @property
    def pods(self) -> list[Pod]:
        """Those that have an address, in their order; a name is the node's consistent id."""
        return stateful_sets.pods(self.cluster.kubectl, self.deployment.pods)

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """Of all pods, as of now; reachable from this machine."""
        return tuple((pod.ip, self.port) for pod in self.pods)

    def source(self, table: str, columns: Sequence[str] | None = None) -> DataSource:
        """What reads `table` from this machine."""
        chosen = tuple(columns) if columns is not None else None
        return DataSource(
            kind="ignite", endpoints=self.endpoints, table=table, columns=chosen,
            credentials=None, tls=None,
        )  # fmt: skip

    @contextlib.contextmanager
    def client(self) -> Iterator[pyignite.Client]:
        """A connected pyignite client, for set-up and as an independent witness."""
        client = pyignite.Client()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "ssl.PROTOCOL", DeprecationWarning)
            connected = client.connect(list(self.endpoints))
        with connected:
            yield client

    def sql(self, query: str, *arguments: object) -> list[list[Any]]:
        """Runs one statement and returns its rows."""
        with self.client() as client, client.sql(query, query_args=list(arguments)) as rows:
            return list(rows)

    def delete(self, pod: str) -> None:
        """Has a pod replaced by one of the same name; returns when the old one is gone."""
        self.cluster.kubectl("delete", "pod", "-n", self.namespace, pod)

    def wait_ready(self, timeout: float = _BOOT_SECONDS) -> None:
        """Returns when all pods are Ready and each sees exactly all of them.

        Raises:
            StartFailed: that did not come about in time.
        """
        self.cluster.wait(self._problem, timeout)

    def wait_settled(self, timeout: float = _BOOT_SECONDS) -> None:
        """Returns when, besides, every partition has all its copies and none is on its way.

        Raises:
            StartFailed: that did not come about in time.
        """
        self.cluster.wait(lambda: self._problem() or self._moving(), timeout)

    def _problem(self) -> str | None:
        if problem := stateful_sets.unready(self.cluster.kubectl, self.deployment.pods):
            return problem
        pods = self.pods
        expected = {pod.ip for pod in pods}
        for pod in pods:
            try:
                seen = seen_from(pod.ip, self.port)
            except NotReady as broken:
                return str(broken)
            # Beside each address is the name that it has in the cluster.
            if (found := {one for one in seen if one.replace(".", "").isdecimal()}) != expected:
                return f"{pod.name} sees {sorted(found)} instead of {sorted(expected)}"
        return None

    def _moving(self) -> str | None:
        try:
            moving = self.sql(MOVING)[0][0]
            groups = [tuple(row) for row in self.sql(COPIES)]
        except SQLError as broken:
            return str(broken)  # The views break on the server while a node joins.
        return unsettled(moving, groups, self.deployment.pods.replicas)
