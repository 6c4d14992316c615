"""Control groups of the nodes, in whichever of the two versions of cgroups this machine has."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

# Of the kernel, to let go of what its last process held.
_PATIENCE_SECONDS = 10.0


def hierarchies() -> list[Path]:
    """Where they are mounted: one, or with version 1 one for each controller or so."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def create(path: str) -> None:
    """Makes the group `path`, relative to the root, and those above it, in every hierarchy."""
    for root in hierarchies():
        group = root
        for part in Path(path).parts:
            _pass_down(group)
            parent, group = group, group / part
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                # Version 1 takes no process into a group where these are empty.
                if (group / name).exists() and not (group / name).read_text().strip():
                    (group / name).write_text((parent / name).read_text())


def membership(path: str) -> list[Path]:
    """The files that a process writes `0` into to join the group `path`."""
    return [root / path / "cgroup.procs" for root in hierarchies()]


def processes(path: str) -> list[psutil.Process]:
    """All in the group `path` and below it."""
    found: set[int] = set()
    for root in hierarchies():
        for file in (root / path).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in file.read_text().split())
    here = []
    for pid in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            here.append(psutil.Process(pid))
    return here


def remove(path: str) -> None:
    """Removes the group `path` and all below it, once the last of their processes has gone.

    Raises:
        OSError: a process is still in it.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for root in hierarchies():
        while (root / path).exists():
            try:
                for group in sorted(_below(root / path), reverse=True):
                    group.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def _below(group: Path) -> Iterator[Path]:
    yield group
    yield from group.rglob("*/")


def _pass_down(group: Path) -> None:
    """Version 2: groups below get the controllers only when this one hands them down."""
    controllers = group / "cgroup.controllers"
    if controllers.exists() and (names := controllers.read_text().split()):
        (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names))
