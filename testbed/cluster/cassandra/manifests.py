"""The objects of a Cassandra database in Kubernetes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.cassandra.configuration import (
    LOGBACK,
    NATIVE_PORT,
    STORAGE_PORT,
    Place,
    Settings,
    java_command,
    node_yaml,
)
from testbed.cassandra.tokens import tokens
from testbed.cluster import stateful_sets
from testbed.cluster.cassandra.image import FOLDER

_CONFIGURATION = "/configuration"
_DATA = "/data"
# Each pod has an address of its own.
_JMX_PORT = 7199
# Beside heap and buffers: code, threads, and files that are mapped.
_OTHER_MB = 500
# Names move to other addresses with their pods.
_FRESH_NAMES = ("-Dsun.net.inetaddr.ttl=1", "-Dsun.net.inetaddr.negative.ttl=0")
# A container has no locale, and its /tmp is read-only.
_SURROUNDINGS = ("-Dfile.encoding=UTF-8", f"-Djava.io.tmpdir={_DATA}/scratch", "-XX:-UsePerfData")
_CLAIM = "data"
_ACCESS: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
_SIZE = {"requests": {"storage": "1Gi"}}


@dataclass(frozen=True, slots=True)
class Deployment:
    """One Cassandra cluster, whose nodes keep their data, and so their host ids, as pods go.

    Args:
        namespace: Of all its objects; may enforce the restricted pod security standard.
        image: Name of `testbed.cluster.cassandra.image()`.
        jars: Where the image's jars are on this machine.
        volumes: A folder of this machine; each pod has one in it, called as the pod.
        name: Of the StatefulSet and of the Service for clients; pods are `name-0`, `name-1`, ...
        replicas: How many pods.
        nodes: Names of the Kubernetes nodes that pods may be on; any when left out.
        spread: No two pods on one node.
        settings: Of the Cassandra nodes; without TLS.
    """

    namespace: str
    image: str
    jars: Path
    volumes: Path
    name: str = "cassandra"
    replicas: int = 3
    nodes: tuple[str, ...] = ()
    spread: bool = True
    settings: Settings = field(default_factory=Settings)

    @property
    def pods(self) -> list[str]:
        """Their names."""
        return [f"{self.name}-{number}" for number in range(self.replicas)]

    @property
    def members(self) -> str:
        """Name of the headless Service that gives each pod a name, ready or not."""
        return f"{self.name}-nodes"

    @property
    def labels(self) -> dict[str, str]:
        """Of the pods."""
        return {"app": self.name}


def manifests(deployment: Deployment) -> list[dict[str, Any]]:
    """ConfigMap, the Services for clients and for the nodes, and the StatefulSet."""
    labels = deployment.labels
    documents = [
        _config_map(deployment),
        stateful_sets.service(deployment.name, labels, {}, client=NATIVE_PORT),
        stateful_sets.members(deployment.members, labels, storage=STORAGE_PORT),
        stateful_sets.stateful_set(
            deployment.name,
            deployment.members,
            labels,
            deployment.replicas,
            _pod(deployment),
            [{"metadata": {"name": _CLAIM}, "spec": _claim()}],
        ),
    ]
    for document in documents:
        document["metadata"]["namespace"] = deployment.namespace
    return documents


def volumes(deployment: Deployment) -> list[dict[str, Any]]:
    """A volume and its claim for each pod, as the StatefulSet calls them.

    They are of the machine below all nodes, so that a pod finds its own wherever it runs. Create
    them first: the scheduler looks only every few minutes at a pod whose claim was not bound.
    """
    return [part for pod in deployment.pods for part in _volume(deployment, pod)]


def _config_map(deployment: Deployment) -> dict[str, Any]:
    names = deployment.pods
    domain = f"{deployment.members}.{deployment.namespace}.svc.cluster.local"
    hosts = [f"{name}.{domain}" for name in names]
    owned = tokens(deployment.replicas, deployment.settings.vnodes)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": deployment.name},
        "data": {
            "logback.xml": LOGBACK,
            "cassandra-rackdc.properties": Place().properties,
            **{
                f"{name}.yaml": _yaml(deployment, host, hosts, own)
                for name, host, own in zip(names, hosts, owned, strict=True)
            },
        },
    }


def _yaml(deployment: Deployment, host: str, seeds: Sequence[str], owned: Sequence[int]) -> str:
    return node_yaml(
        deployment.settings, host, Path(_DATA), seeds=seeds, tokens=owned, bootstrap=False
    )


def _volume(deployment: Deployment, pod: str) -> tuple[dict[str, Any], dict[str, Any]]:
    name, claim = f"{deployment.namespace}-{pod}", f"{_CLAIM}-{pod}"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            **_ACCESS,
            "capacity": _SIZE["requests"],
            "claimRef": {"namespace": deployment.namespace, "name": claim},
            "hostPath": {"path": str(deployment.volumes / pod)},
        },
    }
    return volume, {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim,
            "namespace": deployment.namespace,
            "labels": deployment.labels,
        },
        "spec": {**_claim(), "volumeName": name},
    }


def _claim() -> dict[str, Any]:
    return {**_ACCESS, "resources": _SIZE}


def _pod(deployment: Deployment) -> dict[str, Any]:
    volumes = [{"name": "configuration", "configMap": {"name": deployment.name}}]
    where = stateful_sets.affinity(deployment.labels, deployment.nodes, spread=deployment.spread)
    return stateful_sets.unprivileged(_container(deployment), volumes, where, grace_seconds=20)


def _container(deployment: Deployment) -> dict[str, Any]:
    settings, here = deployment.settings, str(deployment.jars)
    java, *rest = java_command(
        "java", settings, deployment.jars, Path(_DATA), _JMX_PORT, bootstrap=False
    )
    # The same jars, where the image has them.
    arguments = [argument.replace(here, f"{FOLDER}/lib") for argument in rest]
    run = [f"{FOLDER}/run", _CONFIGURATION, _DATA]
    # The port opens last, when the node has joined.
    opens = {"tcpSocket": {"port": NATIVE_PORT}, "periodSeconds": 1}
    return {
        "name": "cassandra",
        "image": deployment.image,
        "imagePullPolicy": "IfNotPresent",
        "command": [*run, java, *_FRESH_NAMES, *_SURROUNDINGS, *arguments],
        "ports": [{"name": "client", "containerPort": NATIVE_PORT}],
        "startupProbe": {**opens, "failureThreshold": 600},
        "readinessProbe": opens,
        "resources": {
            "requests": {"cpu": "100m", "memory": f"{settings.heap_mb + _OTHER_MB}Mi"},
            # As many bytes as for objects may be taken for buffers.
            "limits": {"memory": f"{2 * settings.heap_mb + _OTHER_MB}Mi"},
        },
        "volumeMounts": [
            {"name": "configuration", "mountPath": _CONFIGURATION, "readOnly": True},
            {"name": _CLAIM, "mountPath": _DATA},
        ],
    }
