"""A cluster that outlives the command which started it, and how the next command finds it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from testbed.cluster import sweep
from testbed.cluster.daemon import marked
from testbed.cluster.kubectl import Kubectl

_RECORD = "detached.json"


class Detached(BaseModel, frozen=True):
    """What is written down about the cluster, among its files; `nodes` has name and address."""

    number: int
    folder: Path
    kubeconfig: Path
    nodes: dict[str, str]

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.kubeconfig, self.folder / "kubectl")


def write(record: Detached) -> None:
    """Makes the cluster known. Before anything of it runs, lest a crash leave it unknown."""
    (record.folder / _RECORD).write_text(record.model_dump_json(indent=2))


def find() -> Detached | None:
    """The cluster that is up, or None; one whose processes all ended is not up."""
    for file in sorted(sweep.folder(1).parent.glob(f"*/{_RECORD}")):
        record = Detached.model_validate_json(file.read_text())
        if marked(record.folder):
            return record
    return None


def stop() -> list[int]:
    """Ends the cluster that is up and removes what crashed ones left; returns their numbers."""
    stopped = []
    while (record := find()) is not None:
        sweep.sweep(record.number)
        stopped.append(record.number)
    return stopped + sweep.sweep_dead()
