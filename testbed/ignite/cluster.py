"""A real Apache Ignite cluster on this machine, started and stopped by code."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyignite
from pyignite.datatypes.cluster_state import ClusterState
from pyignite.exceptions import SQLError

from insitu.databases import Credentials, DataSource, Tls
from testbed import addresses, certificates
from testbed.certificates import Certificates
from testbed.ignite.configuration import THIN_PORT, Settings, java_command, node_xml
from testbed.ignite.jars import jars
from testbed.ignite.partitions import COPIES, MOVING, unsettled
from testbed.ignite.probe import NotReady, seen_from
from testbed.node import BootFailed, Node, stop
from testbed.paths import cache, tool
from testbed.processes import last_lines, spawn

_FIRST_USER = Credentials("ignite", "ignite")
_REMEDY = "Run `make setup`, or on Debian and Ubuntu `apt-get install openjdk-17-jre-headless`."

# The node that is not as it should be, and what is wrong.
_Problem = tuple[Node, str]
_BOOT_SECONDS = 90.0


def start(
    nodes: int = 3,
    *,
    tls: bool = False,
    authentication: bool = False,
    persistence: bool = False,
    heap_mb: int = 256,
    region_mb: int = 256,
    partitions: Sequence[int] = (1, 7, 64, 100, 1024),
    fast: bool = False,
    detached: bool = False,
) -> Cluster:
    """Boots a cluster and returns when it takes requests; use it as a context manager.

    Args:
        nodes: How many; they are called `ignite-0`, `ignite-1`, ... and listen on one address each.
        tls: Clients have to show a certificate; see `Cluster.certificates`.
        authentication: Clients have to log in; see `Cluster.credentials`. Implies persistence.
        persistence: Tables are on disk and survive a node's restart.
        heap_mb: Java heap of a node, MiB.
        region_mb: Memory for tables of a node, MiB, outside the heap.
        partitions: For each N a cache template `pN`, as in `CREATE TABLE ... WITH "template=p64"`.
            Of tables of `safeN`, lost partitions stay lost, where others become empty ones.
        fast: For measurements: boots slower, then runs at full speed.
        detached: The cluster outlives this process.

    Raises:
        BootFailed: a node ended or was not ready in time; the message holds the end of its log.
        FileNotFoundError: Java or Maven is missing; the message says what to install.
    """
    settings = Settings(
        heap_mb=heap_mb,
        region_mb=region_mb,
        partitions=tuple(partitions),
        authentication=authentication,
        persistence=persistence,
        fast=fast,
    )
    cluster = Cluster(nodes, settings, tls=tls, detached=detached)
    try:
        for node in cluster.nodes:
            node.start()
        cluster.activate()
    except BaseException:
        cluster.stop()
        raise
    return cluster


class Cluster:
    """Nodes on 127.78.x.1, .2, ...; every one on port 10800."""

    nodes: list[Node]
    credentials: Credentials | None
    certificates: Certificates | None

    def __init__(self, nodes: int, settings: Settings, *, tls: bool, detached: bool) -> None:
        java, path = tool("java", _REMEDY), jars()
        self._network = addresses.claim(THIN_PORT)
        self.folder = addresses.claimed_folder(cache() / "clusters", self._network, THIN_PORT)
        hosts = [self._network.host(number) for number in range(1, nodes + 1)]
        self.credentials = _FIRST_USER if settings.authentication else None
        self.certificates = certificates.issue(self.folder / "tls", hosts) if tls else None
        if self.certificates is not None:
            settings = replace(settings, key_stores=self.certificates.server)
        self._settings = settings
        # The kernel ends a tied process together with the thread that started it: this one
        # lives as long as the cluster, whatever thread starts a node.
        self._starter = ThreadPoolExecutor(1, "ignite-starter")
        self.nodes = []
        for number, host in enumerate(hosts):
            name = f"ignite-{number}"
            folder = self.folder / name
            folder.mkdir(parents=True)
            xml = folder / "node.xml"
            xml.write_text(node_xml(settings, name, host, hosts, folder / "work"))
            command = java_command(java, settings, path, xml)
            spawn_node = self._spawner(command, folder, detached)
            self.nodes.append(Node(name, host, THIN_PORT, folder, spawn_node))

    def _spawner(
        self, command: list[str], folder: Path, detached: bool
    ) -> Callable[[], subprocess.Popen[bytes]]:
        def spawn_node() -> subprocess.Popen[bytes]:
            # Each server holds the claim on the network, so it is free only when all are gone.
            return self._starter.submit(
                spawn,
                command,
                folder=folder,
                log=folder / "node.log",
                inherit=[self._network.claim.fileno()],
                tied=not detached,
            ).result()

        return spawn_node

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes if node.running]

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """Of all nodes, running or not: a client has to cope with both."""
        return tuple((node.host, node.port) for node in self.nodes)

    @property
    def tls(self) -> Tls | None:
        return self.certificates.client if self.certificates else None

    def source(self, table: str, columns: Sequence[str] | None = None) -> DataSource:
        """What a job would be told to read `table` of this cluster."""
        return DataSource(
            kind="ignite",
            endpoints=self.endpoints,
            table=table,
            columns=tuple(columns) if columns is not None else None,
            credentials=self.credentials,
            tls=self.tls,
        )

    @contextlib.contextmanager
    def client(self) -> Iterator[pyignite.Client]:
        """A connected pyignite client, for set-up and as an independent witness."""
        options: dict[str, Any] = {}
        if self.tls is not None:
            options |= {
                "use_ssl": True,
                "ssl_cert_reqs": ssl.CERT_REQUIRED,
                "ssl_ca_certfile": str(self.tls.ca),
                "ssl_certfile": str(self.tls.certificate),
                "ssl_keyfile": str(self.tls.key),
            }
        if self.credentials is not None:
            options |= {
                "username": self.credentials.username,
                "password": self.credentials.password,
            }
        client = pyignite.Client(**options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "ssl.PROTOCOL", DeprecationWarning)
            connected = client.connect([(node.host, node.port) for node in self.running])
        with connected:
            yield client

    def sql(self, query: str, *arguments: object) -> list[list[Any]]:
        """Runs one statement and returns its rows."""
        with self.client() as client, client.sql(query, query_args=list(arguments)) as rows:
            return list(rows)

    def wait_ready(self, timeout: float = _BOOT_SECONDS) -> None:
        """Returns when each running node takes requests and sees exactly the running ones.

        Raises:
            BootFailed: a node ended by itself, or they didn't find each other in time.
        """
        self._wait(self._is_ready, timeout)
        if self._settings.activated:
            self._wait(self._is_active, timeout)

    def activate(self) -> None:
        """Waits for a new cluster, and takes it into use.

        Only once: a later activation without all nodes would found another history of the cluster,
        and Ignite refuses the nodes that were away. Complete again, it activates itself.
        """
        self._wait(self._is_ready, _BOOT_SECONDS)
        if self._settings.activated:
            with self.client() as client:
                client.get_cluster().set_state(ClusterState.ACTIVE)

    def wait_rebalanced(self, timeout: float = 60.0) -> None:
        """Returns when every partition has all its copies and none is on its way.

        Raises:
            BootFailed: that did not come about in time.
        """
        self.wait_ready(timeout)
        self._wait(self._is_rebalanced, timeout)

    def stop(self) -> None:
        """Stops the nodes and removes their files. Safe to call twice."""
        stop(self.nodes)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.abandon()

    def abandon(self) -> None:
        """Lets a detached cluster run on without this process."""
        self._starter.shutdown()
        self._network.release()

    def _is_ready(self) -> _Problem | None:
        started = [node for node in self.nodes if node.started]
        expected = {node.host for node in started}
        for node in started:
            try:
                seen = seen_from(node.host, node.port, self.credentials, self.tls)
            except NotReady as problem:
                return node, str(problem)
            if seen != expected:
                return node, f"{node.id} sees {sorted(seen)} instead of {sorted(expected)}"
        return None

    def _is_active(self) -> _Problem | None:
        with self.client() as client:
            if client.get_cluster().get_state() == ClusterState.ACTIVE:
                return None
        return self.running[0], "it stays inactive until all of its nodes are back"

    def _is_rebalanced(self) -> _Problem | None:
        here = self.running
        try:
            moving = self.sql(MOVING)[0][0]
            groups = [tuple(row) for row in self.sql(COPIES)]
        except SQLError as broken:
            return here[0], str(broken)  # The views break on the server while a node joins.
        if self._settings.activated and len(here) < len(self.nodes):
            groups = []  # A cluster on disk keeps the places of those that are away.
        problem = unsettled(moving, groups, len(here))
        return (here[0], problem) if problem is not None else None

    def _wait(self, problem: Callable[[], _Problem | None], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while (found := problem()) is not None:
            for node in self.nodes:
                node.check()
            if time.monotonic() > deadline:
                node, what = found
                raise BootFailed(
                    f"the cluster is not ready after {timeout:.0f} s: {what}. "
                    f"The log of {node.id} ends with:\n{last_lines(node.log)}"
                )
            time.sleep(0.05)
