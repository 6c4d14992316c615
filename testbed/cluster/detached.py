"""A cluster that outlives the command which started it, and how the next command finds it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from testbed.cluster import sweep
from testbed.cluster.cluster import Cluster
from testbed.cluster.daemon import marked
from testbed.cluster.kubectl import Kubectl
from testbed.paths import cache


class Detached(BaseModel, frozen=True):
    """What is written down about the cluster, beside its files."""

    number: int
    folder: Path
    kubeconfig: Path
    nodes: dict[str, str]
    """Name to address."""

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.kubeconfig, self.folder / "kubectl")


def detach(cluster: Cluster) -> Detached:
    """Writes down where `cluster` is, and lets it run on without this process."""
    record = Detached(
        number=cluster.number,
        folder=cluster.folder,
        kubeconfig=cluster.kubeconfig,
        nodes={node.name: node.ip for node in cluster.nodes},
    )
    _record().write_text(record.model_dump_json(indent=2))
    cluster.abandon()
    return record


def find() -> Detached | None:
    """The cluster that is up, or None; one whose processes all ended is not up."""
    if not _record().exists():
        return None
    record = Detached.model_validate_json(_record().read_text())
    return record if marked(record.folder) else None


def stop() -> list[int]:
    """Ends the cluster that is up and removes what crashed ones left; returns their numbers."""
    stopped = []
    if (record := find()) is not None:
        sweep.sweep(record.number)
        stopped.append(record.number)
    _record().unlink(missing_ok=True)
    return stopped + sweep.sweep_dead()


def _record() -> Path:
    return cache() / "kubernetes-up.json"
