"""The objects of an Ignite database in Kubernetes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.cluster import stateful_sets
from testbed.cluster.ignite.image import FOLDER
from testbed.cluster.stateful_sets import StatefulSet
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
        pods: Its nodes.
        image: Name of `testbed.cluster.ignite.image()`.
        settings: Of the Ignite nodes; neither TLS nor anything on disk.
    """

    pods: StatefulSet
    image: str
    settings: Settings = field(default_factory=lambda: Settings(heap_mb=128, region_mb=128))


def manifests(deployment: Deployment) -> list[dict[str, Any]]:
    """All objects."""
    return stateful_sets.manifests(
        deployment.pods,
        _container(deployment),
        [
            {"name": "configuration", "configMap": {"name": deployment.pods.name}},
            {"name": "work", "emptyDir": {}},
        ],
        configuration={"node.xml": _xml(deployment)},
        client=THIN_PORT,
        joining={"discovery": DISCOVERY_PORT, "communication": COMMUNICATION_PORT},
        grace_seconds=10,
    )


def _xml(deployment: Deployment) -> str:
    return node_xml(
        deployment.settings,
        # Spring fills them in: one file for all pods.
        "#{systemEnvironment['HOSTNAME']}",
        "#{systemEnvironment['POD_IP']}",
        deployment.pods.hosts,
        Path(_WORK),
    )


def _container(deployment: Deployment) -> dict[str, Any]:
    pods = deployment.pods
    java, *rest = java_command(
        "java", deployment.settings, Path(f"{FOLDER}/lib"), Path(f"{_CONFIGURATION}/node.xml")
    )
    run = [f"{FOLDER}/run", pods.domain, str(pods.replicas), str(DISCOVERY_PORT)]
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
