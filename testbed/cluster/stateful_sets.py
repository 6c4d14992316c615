"""What the databases of the testbed have in common in Kubernetes: a StatefulSet, one pod a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.cluster.kubectl import Kubectl

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pod:
    """One database node. Its name stays when it is replaced, all else may change."""

    name: str
    uid: str
    ip: str
    node: str


def pods(kubectl: Kubectl, namespace: str, labels: Mapping[str, str]) -> list[Pod]:
    """Those that have an address, in the order of their names."""
    found = [
        Pod(
            name=pod["metadata"]["name"],
            uid=pod["metadata"]["uid"],
            ip=pod["status"]["podIP"],
            node=pod["spec"]["nodeName"],
        )
        for pod in kubectl.items("pods", "-n", namespace, "-l", selector(labels))
        if pod["status"].get("podIP")
    ]
    return sorted(found, key=lambda pod: pod.name)


def unready(
    kubectl: Kubectl, namespace: str, labels: Mapping[str, str], replicas: int
) -> str | None:
    """A problem while not exactly so many pods are Ready."""
    ready = kubectl.ready("pods", "-n", namespace, "-l", selector(labels))
    return None if sum(ready.values()) == replicas else f"pods of {labels} are ready: {ready}"


def selector(labels: Mapping[str, str]) -> str:
    """As kubectl takes it."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def service(name: str, labels: Mapping[str, str], spec: Json, **ports: int) -> Json:
    """A Service for the pods with these labels; `spec` is what it has beside them and `ports`."""
    listed = [{"name": name, "port": port} for name, port in ports.items()]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": dict(labels), "ports": listed, **spec},
    }


def members(name: str, labels: Mapping[str, str], **ports: int) -> Json:
    """The headless Service that gives each pod a name, ready or not: a node joins before it is."""
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True}
    return service(name, labels, spec, **ports)


def stateful_set(
    name: str,
    service: str,
    labels: Mapping[str, str],
    replicas: int,
    pod: Json,
    claims: Sequence[Json] = (),
) -> Json:
    """All pods start at once; `service` names them, and each has a volume for each of `claims`."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "serviceName": service,
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": dict(labels)},
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
            "volumeClaimTemplates": list(claims),
        },
    }


def unprivileged(
    container: Json, volumes: Sequence[Json], affinity: Json, *, grace_seconds: int
) -> Json:
    """Spec of a pod that a namespace with the restricted pod security standard takes."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    return {
        "affinity": affinity,
        "automountServiceAccountToken": False,
        # Ignite shows its environment to every client: nothing in it but what it needs.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container | {"securityContext": security}],
        "volumes": list(volumes),
    }


def affinity(labels: Mapping[str, str], nodes: Sequence[str], *, spread: bool) -> Json:
    """Where pods may be.

    Args:
        labels: Of the pods.
        nodes: Names of the Kubernetes nodes that they may be on; any when empty.
        spread: No two of them on one node.
    """
    found: Json = {}
    if spread:
        apart = {
            "labelSelector": {"matchLabels": dict(labels)},
            "topologyKey": "kubernetes.io/hostname",
        }
        found["podAntiAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}
    if nodes:
        # By the object's name: the label for host names may say something else.
        terms = [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
            for name in nodes
        ]
        found["nodeAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    return found
