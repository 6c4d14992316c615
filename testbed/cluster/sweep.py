"""Removes all traces of a cluster, in whatever state it is, from what the kernel knows about it."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from testbed import addresses as loopback
from testbed.cluster import cgroups, network
from testbed.cluster.addresses import MOST_CLUSTERS
from testbed.cluster.daemon import marked
from testbed.cluster.node import cgroup
from testbed.paths import cache

CLAIMED_PORT = 6443
_PATIENCE_SECONDS = 20.0


def folder(number: int) -> Path:
    """Where the files of cluster `number` are."""
    return cache() / "kubernetes" / str(number)


def sweep(number: int) -> None:
    """Ends the processes of cluster `number` and removes its groups, networks and files.

    Mounts go with the processes: they are in namespaces that nobody else is in.

    Raises:
        RuntimeError: something did not go away.
    """
    _kill(lambda: marked(folder(number)))
    _kill(lambda: cgroups.processes(cgroup(number)))
    network.remove(number)
    cgroups.remove(cgroup(number))
    shutil.rmtree(folder(number), ignore_errors=True)


def sweep_dead() -> list[int]:
    """Sweeps clusters whose processes ended without cleaning up, and returns their numbers."""
    dead = []
    for number in sorted(_traces()):
        # A claim that is granted says that whoever held it is gone.
        if (claim := loopback.claim_one(number, CLAIMED_PORT)) is not None:
            with contextlib.closing(claim.claim):
                sweep(number)
            dead.append(number)
    return dead


def _traces() -> set[int]:
    return {number for number in _numbers() if 1 <= number <= MOST_CLUSTERS}


def _numbers() -> Iterator[int]:
    for path in folder(1).parent.glob("*"):
        if path.name.isdecimal():
            yield int(path.name)
    for path in Path("/run/netns").glob("insitu-*"):
        if found := re.match(r"insitu-(\d+)-", path.name):
            yield int(found[1])
    for root in cgroups.hierarchies():
        for path in root.glob("insitu-*"):
            if path.name.removeprefix("insitu-").isdecimal():
                yield int(path.name.removeprefix("insitu-"))


def _kill(find: Callable[[], list[psutil.Process]]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while processes := find():
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if time.monotonic() > deadline:
            raise RuntimeError(f"these processes survive SIGKILL: {processes}")
        time.sleep(0.02)
