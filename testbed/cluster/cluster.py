"""A real Kubernetes of several nodes on this machine, started and stopped by code."""

from __future__ import annotations

import shutil
import ssl
import string
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed import addresses as loopback
from testbed.cluster import base_images, binaries, control_plane, image_store, network, packages
from testbed.cluster.addresses import DNS_SERVICE, MOST_CLUSTERS, MOST_NODES, Addresses
from testbed.cluster.daemon import Daemon, Starter, StartFailed, wait
from testbed.cluster.detached import Detached, write
from testbed.cluster.fake_nodes import fake_node, kwok_command
from testbed.cluster.helm import Helm
from testbed.cluster.images import Image, write_archive
from testbed.cluster.kubectl import Kubectl, KubectlFailed
from testbed.cluster.node import Node
from testbed.cluster.pki import Pki, issue
from testbed.cluster.sweep import CLAIMED_PORT, folder, sweep, sweep_dead
from testbed.paths import cache

_DNS = Path(__file__).with_name("dns.yaml")
_BOOT_SECONDS = 120.0


def start(
    nodes: int = 3,
    *,
    node_names: Sequence[str] | None = None,
    labels: Mapping[str, Mapping[str, str]] | None = None,
    images: Sequence[Image] = (),
    detached: bool = False,
) -> Cluster:
    """Boots a cluster and returns when its nodes are Ready and names resolve.

    Use it as a context manager. What is missing is installed and built first, which takes a quarter
    of an hour once.

    Args:
        nodes: How many; each offers the whole machine's CPUs and memory.
        node_names: One for each; `node-0`, `node-1`, ... when left out.
        labels: Of each node by its name. `kubernetes.io/hostname` is the node's name unless it is
            given here.
        images: On all nodes from the start; pods of them need no registry.
        detached: The cluster outlives this process.

    Raises:
        Unsuitable: this machine can't run a cluster; the message says what to do.
        StartFailed: something ended or was not ready in time; the message ends with its log.
        RuntimeError: something could not be built; the message says what the tool said.
        ValueError: names or labels don't fit the nodes.
    """
    names = list(node_names or (f"node-{index}" for index in range(nodes)))
    labels = labels or {}
    if len(set(names)) != nodes or not 1 <= nodes <= MOST_NODES:
        raise ValueError(f"{nodes} nodes need as many different names (at most {MOST_NODES})")
    if unknown := labels.keys() - set(names):
        raise ValueError(f"there are labels for {sorted(unknown)}, but the nodes are {names}")
    packages.installed()
    binaries.built(binaries.KUBERNETES, binaries.ETCD, binaries.COREDNS)
    system = SystemImages(base_images.pause(), base_images.coredns())
    unpacked = image_store.store([system.pause, system.dns, *images])
    sweep_dead()
    cluster = Cluster(_claim(), names, labels, system, unpacked, detached=detached)
    try:
        cluster.boot()
    except StartFailed as problem:
        logs = cluster.keep_logs()
        cluster.stop()
        raise StartFailed(f"{problem}\nAll logs are in {logs}") from problem
    except BaseException:
        cluster.stop()
        raise
    return cluster


def build() -> None:
    """Installs and builds all that clusters, their fake nodes and their tests may need.

    Raises:
        Unsuitable: this machine can't run a cluster; the message says what to do.
        RuntimeError: something could not be built; the message says what the tool said.
    """
    packages.installed()
    binaries.built(*binaries.ALL)
    image_store.store([base_images.pause(), base_images.coredns()])
    base_images.debian()


@dataclass(frozen=True, slots=True)
class SystemImages:
    """Those that every cluster needs: the container that holds a pod together, and DNS."""

    pause: Image
    dns: Image


def _claim() -> loopback.Network:
    for number in range(1, MOST_CLUSTERS + 1):
        if (claimed := loopback.claim_one(number, CLAIMED_PORT)) is not None:
            return claimed
    raise RuntimeError(f"{MOST_CLUSTERS} clusters are running on this machine")


class Cluster:
    """Nodes at 10.77.x.101, .102, ..., and their control plane on this machine, at 10.77.x.1.

    Its daemons can be killed and started again. Nothing runs before `boot`.
    """

    nodes: list[Node]
    kubeconfig: Path
    kubectl: Kubectl
    helm: Helm

    def __init__(
        self,
        claim: loopback.Network,
        names: Sequence[str],
        labels: Mapping[str, Mapping[str, str]],
        images: SystemImages,
        unpacked: Path,
        *,
        detached: bool,
    ) -> None:
        self._claim, self.number, self._detached = claim, claim.third, detached
        self._addresses = addresses = Addresses(self.number)
        self._pki = pki = Pki(folder(self.number) / "pki")
        self._images = images
        self.folder = folder(self.number)
        self.kubeconfig = pki.kubeconfig("admin")
        self.kubectl = Kubectl(self.kubeconfig, self.folder / "kubectl")
        self.helm = Helm(self.kubeconfig, self.folder / "helm")
        self._starter = Starter(self.folder, claim.claim.fileno(), tied=not detached)
        local = self._loopback = claim.host(1)
        self.etcd = self._daemon(control_plane.etcd(self.folder / "etcd", local))
        self.api_server = self._daemon(control_plane.api_server(pki, addresses, local))
        self.controller_manager = self._daemon(control_plane.controller_manager(pki, local))
        self.scheduler = self._daemon(control_plane.scheduler(pki, local))
        self.nodes = [
            Node(
                name,
                index,
                labels.get(name, {}),
                folder=self.folder / "nodes" / name,
                pki=pki,
                addresses=addresses,
                starter=self._starter,
                pause=images.pause.name,
                images=unpacked,
            )
            for index, name in enumerate(names)
        ]
        self._kwok: Daemon | None = None

    def _daemon(self, command: Sequence[str]) -> Daemon:
        name = Path(command[0]).name
        return Daemon(name, command, self.folder / f"{name}.log", self._starter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def boot(self) -> None:
        """Starts everything; the nodes boot while the API server starts.

        Raises:
            StartFailed: something ended or was not ready in time.
        """
        self.folder.mkdir(parents=True)
        nodes = {node.name: node.ip for node in self.nodes}
        if self._detached:
            write(
                Detached(
                    number=self.number,
                    folder=self.folder,
                    kubeconfig=self.kubeconfig,
                    nodes=nodes,
                )
            )
        issue(self._pki, self._addresses, nodes)
        network.create(self._addresses, list(nodes))
        self.etcd.start()
        self.api_server.start()
        self._on_nodes(Node.boot)
        self.wait(self._api_problem)
        self.controller_manager.start()
        self.scheduler.start()
        self._on_nodes(Node.join)
        dns = string.Template(_DNS.read_text())
        manifest = dns.substitute(IMAGE=self._images.dns.name, ADDRESS=DNS_SERVICE)
        self.kubectl("apply", "-f", "-", input=manifest)
        self.wait_ready()

    @property
    def host(self) -> str:
        """This machine's address as nodes and pods see it."""
        return self._addresses.host

    def node(self, name: str) -> Node:
        """The node called `name`."""
        return next(node for node in self.nodes if node.name == name)

    def load_image(self, image: Image) -> None:
        """Puts `image` on all nodes that have power. Quicker: give it to `start`."""
        with tempfile.TemporaryDirectory(dir=self.folder) as work:
            archive = write_archive(image, Path(work, "image.tar"))
            self._on_nodes(lambda node: node.import_image(archive))

    def add_fake_nodes(self, count: int, prefix: str = "fake") -> None:
        """Adds Ready nodes called `prefix-0`, ... whose pods are Running, but run nothing.

        They stay so, but for pods of Jobs with the annotation `fake_nodes.RUNS_FOR`. The nodes
        carry the taint `kwok.x-k8s.io/node=fake:NoSchedule`, which their pods have to tolerate.
        Needs kwok, which is built the first time.
        """
        if self._kwok is None:
            binaries.built(binaries.KWOK)
            command = kwok_command(self.kubeconfig, self.folder / "stages.yaml", self._loopback)
            self._kwok = self._daemon(command)
            self._kwok.start()
        names = [f"{prefix}-{index}" for index in range(count)]
        self.kubectl.apply(*map(fake_node, names))
        self.wait(lambda: _not_ready(names, self.kubectl.ready("nodes")))

    def wait_ready(self, timeout: float = _BOOT_SECONDS) -> None:
        """Returns when exactly the nodes that have power are Ready, and pods can start.

        Raises:
            StartFailed: that did not come about in time.
        """
        self.wait(lambda: self._nodes_problem() or self._services_problem(), timeout)

    def wait(self, problem: Callable[[], str | None], timeout: float = _BOOT_SECONDS) -> None:
        """Returns when `problem` returns None; looks again twice a second.

        A kubectl that fails in it is a problem like others.

        Raises:
            StartFailed: a daemon ended, or it took too long; the message has the last problem.
        """

        def complaint() -> str | None:
            try:
                return problem()
            except KubectlFailed as failed:
                return str(failed)

        wait(complaint, self._daemons(), timeout, 0.5)

    def keep_logs(self) -> Path:
        """Copies all logs to a folder of the cache, where those of the last time are lost."""
        kept = cache() / "kubernetes-logs"
        shutil.rmtree(kept, ignore_errors=True)
        for log in [daemon.log for daemon in self._daemons() if daemon.log.exists()]:
            target = kept / log.relative_to(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(log, target)
        return kept

    def stop(self) -> None:
        """Ends everything and removes all files. Safe to call twice."""
        if self._claim.claim.fileno() < 0:
            return  # Given up: another cluster may have the number by now.
        sweep(self.number)
        self._starter.reap()
        self.abandon()

    def abandon(self) -> None:
        """Lets a detached cluster run on without this process."""
        self._starter.close()
        self._claim.release()

    def _daemons(self) -> list[Daemon]:
        plane = [self.etcd, self.api_server, self.controller_manager, self.scheduler]
        fake = [self._kwok] if self._kwok is not None else []
        return [*plane, *fake, *(daemon for node in self.nodes for daemon in node.daemons)]

    def _on_nodes(self, action: Callable[[Node], None]) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(action, self.nodes))

    def _api_problem(self) -> str | None:
        context = ssl.create_default_context(cafile=str(self._pki.authority))
        url = f"{self._addresses.api_server}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=5, context=context):  # noqa: S310 - our own
                return None
        except OSError as problem:
            return f"the API server: {problem}"

    def _nodes_problem(self) -> str | None:
        ready = self.kubectl.ready("nodes")
        if wrong := [
            node.name for node in self.nodes if ready.get(node.name, False) != node.running
        ]:
            return f"{wrong[0]} is {'not ' if not ready.get(wrong[0]) else 'still '}Ready"
        return None

    def _services_problem(self) -> str | None:
        # Without this account the API server refuses every pod.
        accounts = {item["metadata"]["name"] for item in self.kubectl.items("serviceaccounts")}
        if "default" not in accounts:
            return "the namespace default has no service account yet"
        dns = self.kubectl.items("deployments", "-n", "kube-system")
        return None if dns[0]["status"].get("readyReplicas") else "CoreDNS is not ready"


def _not_ready(names: Sequence[str], ready: Mapping[str, bool]) -> str | None:
    return next((f"{name} is not Ready" for name in names if not ready.get(name)), None)
