"""A real Apache Cassandra cluster on this machine, started and stopped by code."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cassandra.cluster import Session

from insitu.databases import Credentials, DataSource, Tls
from testbed import addresses, certificates
from testbed.cassandra import configuration
from testbed.cassandra.clients import NotReady, connect, peers_of, sees_all_up
from testbed.cassandra.clock import shifted
from testbed.cassandra.configuration import NATIVE_PORT, Place, Settings
from testbed.cassandra.jars import jars
from testbed.cassandra.tokens import later_tokens, tokens
from testbed.certificates import Certificates
from testbed.node import BootFailed, Node
from testbed.paths import cache, tool
from testbed.processes import last_lines, spawn

_FIRST_USER = Credentials("cassandra", "cassandra")
_REMEDY = "Run `make setup`, or on Debian and Ubuntu `apt-get install openjdk-17-jre-headless`."
_BOOT_SECONDS = 300.0
_NODETOOL_SECONDS = 120.0


def start(
    nodes: int = 3,
    *,
    racks: int = 1,
    datacenters: int = 1,
    vnodes: int = 16,
    snitch: str = "GossipingPropertyFileSnitch",
    dynamic_snitch: bool = False,
    node_local: bool = False,
    authentication: bool = False,
    tls: bool = False,
    heap_mb: int = 256,
    fast: bool = False,
    clocks: Sequence[float] = (),
    detached: bool = False,
) -> Cluster:
    """Boots a cluster and returns when all nodes see each other and take requests.

    Args:
        nodes: How many; they are called `cassandra-0`, ... and listen on one address each.
        racks: In each datacenter; nodes fill `rack1`, `rack2`, ... in turn.
        datacenters: Nodes fill `datacenter1`, `datacenter2`, ... in turn.
        vnodes: Tokens a node.
        snitch: `SimpleSnitch` knows neither racks nor datacenters, and has no "self first".
        dynamic_snitch: Prefer replicas that answered fast, as Cassandra does by default.
        node_local: Allow consistency NODE_LOCAL.
        authentication: Clients have to log in; see `Cluster.credentials`.
        tls: Clients have to show a certificate; see `Cluster.certificates`.
        heap_mb: Java heap of a node, MiB; the process takes about 200 MiB more.
        fast: For measurements: boots slower, then runs at full speed.
        clocks: How many seconds the clocks of the first nodes are ahead; this takes a JDK.
        detached: The cluster outlives this process.

    Raises:
        BootFailed: a node ended or was not ready in time; the message holds the end of its log.
        FileNotFoundError: Java or Maven is missing; the message says what to install.
    """
    settings = Settings(
        vnodes=vnodes,
        snitch=snitch,
        dynamic_snitch=dynamic_snitch,
        node_local=node_local,
        authentication=authentication,
        heap_mb=heap_mb,
        fast=fast,
    )
    places = [
        Place(f"datacenter{1 + number % datacenters}", f"rack{1 + number // datacenters % racks}")
        for number in range(nodes)
    ]
    cluster = Cluster(places, settings, clocks=clocks, tls=tls, detached=detached)
    try:
        for node in cluster.nodes:
            node.start()
        cluster.wait_ready()
    except BaseException:
        cluster.stop()
        raise
    return cluster


class Cluster:
    """Nodes on 127.78.x.1, .2, ...; every one on port 9042.

    A node that is killed forgets what it took in its last tenth of a second: flush before, with
    `nodetool`, where there is no other copy.
    """

    nodes: list[Node]
    credentials: Credentials | None
    certificates: Certificates | None

    def __init__(
        self,
        places: Sequence[Place],
        settings: Settings,
        *,
        clocks: Sequence[float],
        tls: bool,
        detached: bool,
    ) -> None:
        self._java, self._jars = tool("java", _REMEDY), jars()
        self._network = addresses.claim(NATIVE_PORT)
        self._detached = detached
        run = cache() / "clusters-cassandra"
        self.folder = addresses.claimed_folder(run, self._network, NATIVE_PORT)
        hosts = [self._network.host(number) for number in range(1, len(places) + 1)]
        self.credentials = _FIRST_USER if settings.authentication else None
        self.certificates = None
        if tls:
            # Also for a few nodes that join later.
            names = [self._network.host(number) for number in range(1, len(places) + 4)]
            self.certificates = certificates.issue(self.folder / "tls", names)
            settings = replace(settings, key_stores=self.certificates.server)
        self._settings = settings
        self._clocks = clocks
        # The kernel ends a tied process together with the thread that started it: this one
        # lives as long as the cluster, whatever thread starts a node.
        self._starter = ThreadPoolExecutor(1, "cassandra-starter")
        self._session: tuple[list[str], contextlib.ExitStack, Session] | None = None
        self.nodes = []
        # Of all nodes there ever were: numbers are not used again.
        self._jmx_port: dict[str, int] = {}
        for place, owned in zip(places, tokens(len(places), settings.vnodes), strict=True):
            self._new_node(place, owned, seeds=hosts, bootstrap=False)

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
        """What a job would be told to read `table` (`keyspace.table`) of this cluster."""
        return DataSource(
            kind="cassandra",
            endpoints=self.endpoints,
            table=table,
            columns=tuple(columns) if columns is not None else None,
            credentials=self.credentials,
            tls=self.tls,
        )

    @contextlib.contextmanager
    def session(self, *nodes: Node) -> Iterator[Session]:
        """A driver session that asks only `nodes`, by default all that run."""
        hosts = [node.host for node in nodes or self.running]
        with connect(hosts, self.credentials, self.tls) as session:
            yield session

    def cql(self, statement: str, *arguments: object, node: Node | None = None) -> list[Any]:
        """Runs one statement and returns its rows as tuples; at `node`, or anywhere."""
        if node is not None:
            with self.session(node) as session:
                return list(session.execute(statement, arguments or None))
        return list(self._any().execute(statement, arguments or None))

    def keyspace(self, name: str, replicas: int = 1, **datacenters: int) -> None:
        """Creates it with SimpleStrategy, or with replicas for each of `datacenters`."""
        replication: dict[str, str | int] = {
            "class": "SimpleStrategy",
            "replication_factor": replicas,
        }
        if datacenters:
            replication = {"class": "NetworkTopologyStrategy", **datacenters}
        self.cql(f"CREATE KEYSPACE {name} WITH replication = {replication}")

    def nodetool(self, node: Node, *arguments: str) -> str:
        """Cassandra's own tool at `node`; returns what it says.

        Raises:
            RuntimeError: it failed; the message holds what it said.
        """
        command = configuration.nodetool_command(
            self._java, self._jars, node.folder, self._jmx_port[node.id]
        )
        done = subprocess.run(
            [*command, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=_NODETOOL_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"nodetool {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def refresh_sizes(self, keyspace: str) -> None:
        """Flushes the tables of `keyspace` and recomputes every node's size estimates."""
        for node in self.running:
            self.nodetool(node, "flush", keyspace)
            self.nodetool(node, "refreshsizeestimates")

    def add(self, place: Place = Place()) -> Node:  # noqa: B008 - frozen
        """A further node, started; it joins on its own, and `wait_ready` waits for that."""
        owned = later_tokens(len(self._jmx_port), self._settings.vnodes)
        seeds = [node.host for node in self.running]
        node = self._new_node(place, owned, seeds=seeds, bootstrap=True)
        node.start()
        return node

    def decommission(self, node: Node) -> None:
        """The node hands over its data and leaves for good; returns when it is gone."""
        # By force: a system keyspace wants three copies whatever there are nodes.
        self.nodetool(node, "decommission", "--force")
        node.kill()
        self.nodes.remove(node)

    def wait_ready(self, timeout: float = _BOOT_SECONDS) -> None:
        """Returns when all started nodes take requests, and see the running ones of the others up.

        Raises:
            BootFailed: a node ended by itself, or they didn't find each other in time.
        """
        self._wait(self._unready, timeout)

    def wait_seen_down(self, node: Node, timeout: float = 90.0) -> None:
        """Returns when all running nodes hold `node`, which was killed, for down.

        Raises:
            BootFailed: that did not come about in time.
        """
        self._wait(lambda: self._still_up(node), timeout)

    def stop(self) -> None:
        """Kills the nodes and removes their files. Safe to call twice."""
        self._close_session()
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.abandon()

    def abandon(self) -> None:
        """Lets a detached cluster run on without this process."""
        self._close_session()
        self._starter.shutdown()
        self._network.release()

    def _new_node(
        self, place: Place, owned: Sequence[int], *, seeds: Sequence[str], bootstrap: bool
    ) -> Node:
        number = len(self._jmx_port)
        name, host = f"cassandra-{number}", self._network.host(number + 1)
        folder = self.folder / name
        folder.mkdir(parents=True)
        (folder / "triggers").mkdir()
        # Libraries that Java unpacks; who is killed leaves them behind.
        (temporary := folder / "tmp").mkdir()
        (folder / "logback.xml").write_text(configuration.LOGBACK)
        (folder / "cassandra-rackdc.properties").write_text(place.properties)
        (folder / "cassandra.yaml").write_text(
            configuration.node_yaml(
                self._settings, host, folder, seeds=seeds, tokens=owned, bootstrap=bootstrap
            )
        )
        jmx = configuration.jmx_port(self._network.third, number)
        self._jmx_port[name] = jmx
        java, *arguments = configuration.java_command(
            self._java, self._settings, self._jars, folder, jmx, bootstrap=bootstrap
        )
        ahead = self._clocks[number] if number < len(self._clocks) else 0
        clock = shifted(ahead, folder, self._jars) if ahead else []
        command = [java, f"-Djava.io.tmpdir={temporary}", *clock, *arguments]
        node = Node(name, host, NATIVE_PORT, folder, self._spawner(command, folder))
        self.nodes.append(node)
        return node

    def _spawner(self, command: list[str], folder: Path) -> Callable[[], subprocess.Popen[bytes]]:
        def spawn_node() -> subprocess.Popen[bytes]:
            # Each server holds the claim on the network, so it is free only when all are gone.
            return self._starter.submit(
                spawn,
                command,
                folder=folder,
                log=folder / "node.log",
                inherit=[self._network.claim.fileno()],
                tied=not self._detached,
            ).result()

        return spawn_node

    def _any(self) -> Session:
        """A session on the nodes that run now, kept for the next statement."""
        hosts = [node.host for node in self.running]
        if self._session is None or self._session[0] != hosts:
            self._close_session()
            stack = contextlib.ExitStack()
            self._session = (hosts, stack, stack.enter_context(self.session()))
        return self._session[2]

    def _close_session(self) -> None:
        if self._session is not None:
            self._session[1].close()
            self._session = None

    def _unready(self) -> tuple[Node, str] | None:
        started = [node for node in self.nodes if node.started]
        expected = {node.host for node in started}
        for node in started:
            try:
                with connect([node.host], self.credentials, self.tls) as session:
                    seen = peers_of(session)
                    up = sees_all_up(session)
            except NotReady as problem:
                return node, str(problem)
            if not expected <= seen:
                return node, f"{node.id} sees {sorted(seen)} instead of {sorted(expected)}"
            if len(started) == len(self.nodes) and not up:
                return node, f"{node.id} holds another node for down"
        return None

    def _still_up(self, node: Node) -> tuple[Node, str] | None:
        for other in self.running:
            if not _says_down(self.nodetool(other, "status"), node.host):
                return other, f"{other.id} holds {node.id} for up"
        return None

    def _wait(self, problem: Callable[[], tuple[Node, str] | None], timeout: float) -> None:
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
            time.sleep(0.1)


def _says_down(status: str, host: str) -> bool:
    return any(
        line.startswith("D") and line.split()[1] == host for line in status.splitlines() if line
    )
