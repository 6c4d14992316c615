"""The objects of an Ignite database in Kubernetes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.cluster import stateful_sets
from testbed.cluster.ignite.image import FOLDER
from testbed.ignite.configuration import (
    COMMUNICATION_PORT,
    DISCOVERY_PORT,
    THIN_PORT,
    Settings,
    java_command,
    node_xml,
)

_CONFIGURATION = "/configuration"
_WORK = "/work"
# Beside heap and tables: code, threads, buffers.
_OTHER_MB = 300
# Names move to other addresses with their pods.
_FRESH_NAMES = ("-Dsun.net.inetaddr.ttl=1", "-Dsun.net.inetaddr.negative.ttl=0")
# A container has no locale.
_ENCODING = "-Dfile.encoding=UTF-8"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One Ignite cluster.

    Args:
        namespace: Of all its objects; may enforce the restricted pod security standard.
        image: Name of `testbed.cluster.ignite.image()`.
        name: Of the StatefulSet and of the Service for clients; pods are `name-0`, `name-1`, ...
        replicas: How many pods.
        nodes: Names of the Kubernetes nodes that pods may be on; any when left out.
        spread: No two pods on one node.
        settings: Of the Ignite nodes; neither TLS nor anything on disk.
    """

    namespace: str
    image: str
    name: str = "ignite"
    replicas: int = 3
    nodes: tuple[str, ...] = ()
    spread: bool = True
    settings: Settings = field(default_factory=lambda: Settings(heap_mb=128, region_mb=128))

    @property
    def members(self) -> str:
        """Name of the headless Service that gives each pod a name, ready or not."""
        return f"{self.name}-nodes"

    @property
    def labels(self) -> dict[str, str]:
        """Of the pods."""
        return {"app": self.name}


def manifests(deployment: Deployment) -> list[dict[str, Any]]:
    """ConfigMap, the Services for clients and for discovery, and the StatefulSet."""
    labels = deployment.labels
    joining = {"discovery": DISCOVERY_PORT, "communication": COMMUNICATION_PORT}
    documents = [
        _config_map(deployment),
        stateful_sets.service(deployment.name, labels, {}, client=THIN_PORT),
        stateful_sets.members(deployment.members, labels, **joining),
        stateful_sets.stateful_set(
            deployment.name, deployment.members, labels, deployment.replicas, _pod(deployment)
        ),
    ]
    for document in documents:
        document["metadata"]["namespace"] = deployment.namespace
    return documents


def _config_map(deployment: Deployment) -> dict[str, Any]:
    xml = node_xml(
        deployment.settings,
        # Spring fills them in: one file for all pods.
        "#{systemEnvironment['HOSTNAME']}",
        "#{systemEnvironment['POD_IP']}",
        [f"{deployment.name}-{n}.{_domain(deployment)}" for n in range(deployment.replicas)],
        Path(_WORK),
    )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": deployment.name},
        "data": {"node.xml": xml},
    }


def _pod(deployment: Deployment) -> dict[str, Any]:
    volumes = [
        {"name": "configuration", "configMap": {"name": deployment.name}},
        {"name": "work", "emptyDir": {}},
    ]
    where = stateful_sets.affinity(deployment.labels, deployment.nodes, spread=deployment.spread)
    return stateful_sets.unprivileged(_container(deployment), volumes, where, grace_seconds=10)


def _container(deployment: Deployment) -> dict[str, Any]:
    java, *rest = java_command(
        "java", deployment.settings, Path(f"{FOLDER}/lib"), Path(f"{_CONFIGURATION}/node.xml")
    )
    run = [f"{FOLDER}/run", _domain(deployment), str(deployment.replicas), str(DISCOVERY_PORT)]
    megabytes = deployment.settings.heap_mb + deployment.settings.region_mb + _OTHER_MB
    return {
        "name": "ignite",
        "image": deployment.image,
        "imagePullPolicy": "IfNotPresent",
        # Java would leave a file of counters in /tmp, which is read-only.
        "command": [*run, java, *_FRESH_NAMES, _ENCODING, "-XX:-UsePerfData", *rest],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "client", "containerPort": THIN_PORT}],
        # Not ready before it has joined; from then on an open port says enough, and costs nothing.
        "startupProbe": {
            "exec": {"command": ["sh", "-c", f'{FOLDER}/ready "$POD_IP" {THIN_PORT}']},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 600,
        },
        "readinessProbe": {"tcpSocket": {"port": THIN_PORT}, "periodSeconds": 1},
        "resources": {
            "requests": {"cpu": "100m", "memory": f"{megabytes}Mi"},
            "limits": {"memory": f"{megabytes}Mi"},
        },
        "volumeMounts": [
            {"name": "configuration", "mountPath": _CONFIGURATION, "readOnly": True},
            {"name": "work", "mountPath": _WORK},
        ],
    }


def _domain(deployment: Deployment) -> str:
    return f"{deployment.members}.{deployment.namespace}.svc.cluster.local"
