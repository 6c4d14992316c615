"""A cluster that outlives the command which started it, and how the next command finds it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Protocol

import psutil
from pydantic import BaseModel

from insitu.databases import Credentials, Tls
from testbed.node import Node
from testbed.paths import cache
from testbed.processes import end

_GRACE_SECONDS = 15.0


class DetachedNode(BaseModel, frozen=True):
    """`created` tells its process from a later one that got the same id."""

    id: str
    host: str
    port: int
    pid: int
    created: float

    def process(self) -> psutil.Process | None:
        """The node's process, or None when it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


class Detached(BaseModel, frozen=True):
    """What is written down about the cluster of a kind of database."""

    kind: str
    folder: Path
    nodes: tuple[DetachedNode, ...]
    username: str | None
    tls: Tls | None

    @property
    def credentials(self) -> Credentials | None:
        """The first user's password is its name, in every one of these databases."""
        return Credentials(self.username, self.username) if self.username else None


class Runs(Protocol):
    """A cluster that was started detached."""

    folder: Path
    nodes: list[Node]
    credentials: Credentials | None

    @property
    def tls(self) -> Tls | None: ...

    def abandon(self) -> None: ...


def detach(kind: str, cluster: Runs) -> Detached:
    """Writes down where `cluster` is, and lets it run on without this process."""
    record = Detached(
        kind=kind,
        folder=cluster.folder,
        nodes=tuple(
            DetachedNode(
                id=node.id,
                host=node.host,
                port=node.port,
                pid=node.pid,
                created=psutil.Process(node.pid).create_time(),
            )
            for node in cluster.nodes
        ),
        username=cluster.credentials.username if cluster.credentials else None,
        tls=cluster.tls,
    )
    _record(kind).write_text(record.model_dump_json(indent=2))
    cluster.abandon()
    return record


def find(kind: str) -> Detached | None:
    """The cluster that is up, or None; one whose nodes all ended is not up."""
    if not _record(kind).exists():
        return None
    record = Detached.model_validate_json(_record(kind).read_text())
    return record if any(node.process() for node in record.nodes) else None


def stop(record: Detached) -> None:
    """Stops the nodes that still run and removes their files."""
    end([process for node in record.nodes if (process := node.process())], _GRACE_SECONDS)
    shutil.rmtree(record.folder, ignore_errors=True)
    _record(record.kind).unlink(missing_ok=True)


def _record(kind: str) -> Path:
    return cache() / f"{kind}-up.json"
