"""Nodes that only the API server believes in, kept Ready by kwok: hundreds cost next to nothing.

https://kwok.sigs.k8s.io/docs/user/configuration/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from testbed.cluster.binaries import KWOK

# On a node: kwok plays its kubelet. As a taint: only pods that know come here.
MARK = "kwok.x-k8s.io/node"


def kwok_command(kubeconfig: Path, stages: Path, loopback: str) -> list[str]:
    """Plays the kubelets of all nodes with the annotation `MARK`.

    Args:
        kubeconfig: Of an administrator.
        stages: What becomes of nodes and pods; written here.
        loopback: The address of its own server.
    """
    # Without stages kwok does nothing; the release has them apart from the binary.
    texts = [path.read_text() for path in sorted(KWOK.folder.glob("*.yaml"))]
    stages.write_text("\n---\n".join(text for text in texts if "kind: Stage" in text))
    return [
        str(KWOK.folder / "kwok"),
        f"--config={stages}",
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={MARK}=fake",
        "--node-lease-duration-seconds=40",
        f"--server-address={loopback}:10247",
    ]


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
