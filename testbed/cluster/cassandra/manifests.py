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
from testbed.cluster.stateful_sets import StatefulSet

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
        pods: Its nodes.
        image: Name of `testbed.cluster.cassandra.image()`.
        jars: Where the image's jars are on this machine.
        volumes: A folder of this machine; each pod has one in it, called as the pod.
        settings: Of the Cassandra nodes; without TLS.
    """

    pods: StatefulSet
    image: str
    jars: Path
    volumes: Path
    settings: Settings = field(default_factory=Settings)


def manifests(deployment: Deployment) -> list[dict[str, Any]]:
    """All objects but the volumes."""
    return stateful_sets.manifests(
        deployment.pods,
        _container(deployment),
        [{"name": "configuration", "configMap": {"name": deployment.pods.name}}],
        configuration=_configuration(deployment),
        client=NATIVE_PORT,
        joining={"storage": STORAGE_PORT},
        grace_seconds=20,
        claims=[{"metadata": {"name": _CLAIM}, "spec": _claim()}],
    )


def volumes(deployment: Deployment) -> list[dict[str, Any]]:
    """A volume and its claim for each pod, as the StatefulSet calls them.

    They are of the machine below all nodes, so that a pod finds its own wherever it runs. Create
    them first: the scheduler looks only every few minutes at a pod whose claim was not bound.
    """
    return [part for pod in deployment.pods.names for part in _volume(deployment, pod)]


def _configuration(deployment: Deployment) -> dict[str, str]:
    pods = deployment.pods
    owned = tokens(pods.replicas, deployment.settings.vnodes)
    return {
        "logback.xml": LOGBACK,
        "cassandra-rackdc.properties": Place().properties,
        **{
            f"{name}.yaml": _yaml(deployment, host, pods.hosts, own)
            for name, host, own in zip(pods.names, pods.hosts, owned, strict=True)
        },
    }


def _yaml(deployment: Deployment, host: str, seeds: Sequence[str], owned: Sequence[int]) -> str:
    return node_yaml(
        deployment.settings, host, Path(_DATA), seeds=seeds, tokens=owned, bootstrap=False
    )


def _volume(deployment: Deployment, pod: str) -> tuple[dict[str, Any], dict[str, Any]]:
    name, claim = f"{deployment.pods.namespace}-{pod}", f"{_CLAIM}-{pod}"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            **_ACCESS,
            "capacity": _SIZE["requests"],
            "claimRef": {"namespace": deployment.pods.namespace, "name": claim},
            "hostPath": {"path": str(deployment.volumes / pod)},
        },
    }
    return volume, {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim,
            "namespace": deployment.pods.namespace,
            "labels": deployment.pods.labels,
        },
        "spec": {**_claim(), "volumeName": name},
    }


def _claim() -> dict[str, Any]:
    return {**_ACCESS, "resources": _SIZE}


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
