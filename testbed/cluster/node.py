"""One node: a machine made of namespaces, with a container runtime, a kubelet and a kube-proxy."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil

from testbed.cluster import cgroups, image_store, node_files
from testbed.cluster.addresses import Addresses
from testbed.cluster.base_images import pause_binary
from testbed.cluster.daemon import Daemon, Starter, wait
from testbed.cluster.network import namespace
from testbed.cluster.pki import Pki
from testbed.paths import cache

_INIT = Path(__file__).with_name("node_init.sh")
_BOOT_SECONDS = 60.0
# Runs a command in the control groups that are named before it.
_JOIN = 'until [ "$1" = -- ]; do echo 0 >"$1"; shift; done; shift; exec "$@"'


class Node:
    """`name` and `ip` stay the same over every restart, and so do the containers' images."""

    name: str
    ip: str

    def __init__(
        self,
        name: str,
        index: int,
        labels: Mapping[str, str],
        *,
        folder: Path,
        pki: Pki,
        addresses: Addresses,
        starter: Starter,
        pause: str,
        images: Path,
    ) -> None:
        self.name, self.ip, self.folder = name, addresses.node(index), folder
        self._cgroup = f"{cgroup(addresses.number)}/{name}"
        self._files = partial(
            node_files.write, folder, pki, addresses, name, index, self._cgroup, pause
        )
        self._images = images
        network = f"--net=/run/netns/{namespace(addresses.number, name)}"
        unshare = ["--mount", "--propagation=private", "--pid", "--uts", "--ipc", "--fork"]
        self._init = Daemon(
            f"{name} init",
            ["nsenter", network, "unshare", *unshare, "--kill-child=KILL", "--mount-proc",
             str(_INIT), str(cache()), str(folder), name, str(pause_binary()), *self._membership()],
            folder / "init.log",
            starter,
        )  # fmt: skip
        commands = {
            "containerd": node_files.containerd_command(folder),
            "kubelet": node_files.kubelet_command(folder, pki, name, self.ip, labels),
            "kube-proxy": node_files.kube_proxy_command(folder),
        }
        self._daemons = {
            what: Daemon(f"{name} {what}", command, folder / f"{what}.log", starter, self._enter)
            for what, command in commands.items()
        }

    @property
    def running(self) -> bool:
        """Whether it has power, whatever runs on it."""
        return self._init.running

    @property
    def daemons(self) -> list[Daemon]:
        return [self._init, *self._daemons.values()]

    def boot(self) -> None:
        """Power on, and a container runtime: ready for images, not yet part of the cluster.

        Raises:
            StartFailed: it did not come up in time.
        """
        if self.running:
            return
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self._files()
            (self.folder / "var" / "lib").mkdir(parents=True)
            image_store.copy(self._images, self.folder / "var" / "lib" / "containerd")
        # Groups of containers from before would cost the kubelet seconds each.
        cgroups.remove(self._cgroup)
        cgroups.create(f"{self._cgroup}/system")
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        self._init.start()
        wait(
            lambda: None if ready.exists() else f"{self.name} makes its namespaces",
            [self._init], _BOOT_SECONDS, 0.02,
        )  # fmt: skip
        self._daemons["containerd"].start()
        wait(self._runtime_problem, [self._daemons["containerd"]], _BOOT_SECONDS, 0.1)

    def join(self) -> None:
        """Starts the kubelet and kube-proxy, which make the node part of the cluster."""
        self._daemons["kubelet"].start()
        self._daemons["kube-proxy"].start()

    def power_on(self) -> None:
        """Boots and joins; returns before the cluster calls the node Ready."""
        self.boot()
        self.join()

    def power_off(self) -> None:
        """All its processes are gone when this returns, its pods' too, and nobody was told."""
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            self._first().kill()
        for daemon in [*self._daemons.values(), self._init]:
            daemon.reap()

    def kill_kubelet(self) -> None:
        """SIGKILL to the kubelet; containers run on. `join` starts it again."""
        self._daemons["kubelet"].kill()

    def import_image(self, archive: Path) -> None:
        """Puts an OCI archive among the node's images.

        Raises:
            RuntimeError: containerd refuses it; the message holds what it said.
        """
        self.run("ctr", "--namespace=k8s.io", "images", "import", str(archive))

    def run(self, *command: str) -> str:
        """Runs a command on the node, outside of any pod, and returns what it prints.

        Raises:
            RuntimeError: it failed.
            ProcessLookupError: the node has no power.
        """
        done = subprocess.run(
            [*self._enter(), *command], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} on {self.name}: {done.stderr.strip()}")
        return done.stdout

    def _first(self) -> psutil.Process:
        children = self._init.process.children()
        if not children:
            raise ProcessLookupError(f"{self.name} is not running")
        return children[0]

    def _enter(self) -> Sequence[str]:
        return [
            "nsenter", f"--target={self._first().pid}", "--mount", "--uts", "--ipc", "--net",
            "--pid", "--", "sh", "-c", _JOIN, "sh", *self._membership(), "--",
        ]  # fmt: skip

    def _membership(self) -> list[str]:
        return [str(file) for file in cgroups.membership(f"{self._cgroup}/system")]

    def _runtime_problem(self) -> str | None:
        try:
            self.run("ctr", "version")
        except RuntimeError as problem:
            return str(problem)
        return None


def cgroup(number: int) -> str:
    """The group of cluster `number`, relative to the root; one for each node is below it."""
    return f"insitu-{number}"
