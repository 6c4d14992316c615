"""Nodes that only the API server believes in, kept Ready by kwok: hundreds cost next to nothing.

https://kwok.sigs.k8s.io/docs/user/configuration/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from testbed.cluster.binaries import KWOK

# On a node: kwok plays its kubelet. As a taint: only pods that know come here.
MARK = "kwok.x-k8s.io/node"

# On a pod of a Job: it ends well after so long, such as "5s". Without it, it runs on.
RUNS_FOR = "kwok.x-k8s.io/runs-for"


def kwok_command(kubeconfig: Path, stages: Path, loopback: str) -> list[str]:
    """Plays the kubelets of all nodes with the annotation `MARK`.

    Args:
        kubeconfig: Of an administrator.
        stages: What becomes of nodes and pods; written here.
        loopback: The address of its own server.
    """
    # Without stages kwok does nothing; the release has them apart from the binary.
    documents = [yaml.safe_load(path.read_text()) for path in sorted(KWOK.folder.glob("*.yaml"))]
    found = [document for document in documents if document["kind"] == "Stage"]
    _only_when_asked(next(s for s in found if s["metadata"]["name"] == "pod-complete"))
    stages.write_text(yaml.safe_dump_all(found))
    return [
        str(KWOK.folder / "kwok"),
        f"--config={stages}",
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={MARK}=fake",
        "--node-lease-duration-seconds=40",
        f"--server-address={loopback}:10247",
    ]


def _only_when_asked(stage: dict[str, Any]) -> None:
    """The release's own ends all pods of Jobs at once."""
    spec, runs_for = stage["spec"], f'.metadata.annotations["{RUNS_FOR}"]'
    spec["selector"]["matchExpressions"].append({"key": runs_for, "operator": "Exists"})
    spec["delay"] = {"durationFrom": {"expressionFrom": runs_for}}


def fake_node(name: str) -> dict[str, Any]:
    """A node of 32 CPUs and 256 GiB."""
    size = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "type": "kwok",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {MARK: "fake"}},
        "spec": {"taints": [{"key": MARK, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": size, "capacity": size},
    }
