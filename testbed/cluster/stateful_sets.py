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


@dataclass(frozen=True, slots=True)
class StatefulSet:
    """Pods `name-0`, `name-1`, ..., each of which is a database node.

    Args:
        namespace: Of all its objects; may enforce the restricted pod security standard.
        name: Its own, and that of the Service for clients.
        replicas: How many pods.
        nodes: Names of the Kubernetes nodes that pods may be on; any when left out.
        spread: No two pods on one node.
    """

    namespace: str
    name: str
    replicas: int = 3
    nodes: tuple[str, ...] = ()
    spread: bool = True

    @property
    def members(self) -> str:
        """Name of the headless Service that gives each pod a name, ready or not."""
        return f"{self.name}-nodes"

    @property
    def labels(self) -> dict[str, str]:
        """Of the pods."""
        return {"app": self.name}

    @property
    def selector(self) -> str:
        """Of the pods, as kubectl takes it."""
        return ",".join(f"{key}={value}" for key, value in self.labels.items())

    @property
    def domain(self) -> str:
        """Where the pods have their names."""
        return f"{self.members}.{self.namespace}.svc.cluster.local"

    @property
    def names(self) -> list[str]:
        """The pods'."""
        return [f"{self.name}-{number}" for number in range(self.replicas)]

    @property
    def hosts(self) -> list[str]:
        """The pods' names in full."""
        return [f"{name}.{self.domain}" for name in self.names]


def pods(kubectl: Kubectl, of: StatefulSet) -> list[Pod]:
    """Those that have an address, in the order of their names."""
    found = [
        Pod(
            name=pod["metadata"]["name"],
            uid=pod["metadata"]["uid"],
            ip=pod["status"]["podIP"],
            node=pod["spec"]["nodeName"],
        )
        for pod in kubectl.items("pods", "-n", of.namespace, "-l", of.selector)
        if pod["status"].get("podIP")
    ]
    return sorted(found, key=lambda pod: pod.name)


def unready(kubectl: Kubectl, of: StatefulSet) -> str | None:
    """A problem while not exactly so many pods are Ready."""
    ready = kubectl.ready("pods", "-n", of.namespace, "-l", of.selector)
    return None if sum(ready.values()) == of.replicas else f"pods of {of.name} are ready: {ready}"


def manifests(
    of: StatefulSet,
    container: Json,
    volumes: Sequence[Json],
    *,
    configuration: Mapping[str, str],
    client: int,
    joining: Mapping[str, int],
    grace_seconds: int,
    claims: Sequence[Json] = (),
) -> list[Json]:
    """ConfigMap, the Services for clients and for nodes, and the StatefulSet.

    Args:
        of: What they make.
        container: Of each pod.
        volumes: Of each pod.
        configuration: Files of the ConfigMap, which is called as the set.
        client: The port for clients.
        joining: Ports that nodes find each other by.
        grace_seconds: What a pod that is deleted has, to leave in peace.
        claims: For volumes that each pod has of its own.
    """
    documents = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": of.name},
            "data": dict(configuration),
        },
        _service(of.name, of.labels, {}, {"client": client}),
        _members(of, joining),
        _stateful_set(of, _unprivileged(of, container, volumes, grace_seconds), claims),
    ]
    for document in documents:
        document["metadata"]["namespace"] = of.namespace
    return documents


def _service(name: str, labels: Mapping[str, str], spec: Json, ports: Mapping[str, int]) -> Json:
    listed = [{"name": name, "port": port} for name, port in ports.items()]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": dict(labels), "ports": listed, **spec},
    }


def _members(of: StatefulSet, ports: Mapping[str, int]) -> Json:
    """A node joins before its pod is ready."""
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True}
    return _service(of.members, of.labels, spec, ports)


def _stateful_set(of: StatefulSet, pod: Json, claims: Sequence[Json]) -> Json:
    """All pods start at once."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": of.name},
        "spec": {
            "serviceName": of.members,
            "replicas": of.replicas,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": of.labels},
            "template": {"metadata": {"labels": of.labels}, "spec": pod},
            "volumeClaimTemplates": list(claims),
        },
    }


def _unprivileged(
    of: StatefulSet, container: Json, volumes: Sequence[Json], grace_seconds: int
) -> Json:
    """Spec of a pod that a namespace with the restricted pod security standard takes."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    return {
        "affinity": _affinity(of),
        "automountServiceAccountToken": False,
        # Ignite shows its environment to every client: nothing in it but what it needs.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container | {"securityContext": security}],
        "volumes": list(volumes),
    }


def _affinity(of: StatefulSet) -> Json:
    found: Json = {}
    if of.spread:
        apart = {
            "labelSelector": {"matchLabels": of.labels},
            "topologyKey": "kubernetes.io/hostname",
        }
        found["podAntiAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}
    if of.nodes:
        # By the object's name: the label for host names may say something else.
        terms = [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
            for name in of.nodes
        ]
        found["nodeAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    return found
