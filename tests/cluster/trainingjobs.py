"""TrainingJobs with all their fields, and what an API server says against one."""

from __future__ import annotations

import copy
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import yaml

from testbed.cluster import Cluster

KINDS = {"apiVersion": "insitu.dev/v1alpha1", "kind": "TrainingJob"}

IGNITE: dict[str, Any] = KINDS | {
    "metadata": {"name": "digits"},
    "spec": {
        "data": {
            "ignite": {
                "endpoints": ["127.0.0.1:10800", "[::1]:10800"],
                "cache": "DIGITS",
                "columns": ["pixels", "label"],
                "tls": {"secretName": "tls"},
            },
            "onChange": "Continue",
        },
        "placement": {"locality": "Preferred", "onTopologyChange": "Fail", "maxRanks": 3},
        "trainer": {
            "framework": "None",
            "image": "example.org/digits:1",
            "command": ["python", "train.py"],
            "args": ["--fast"],
            "env": [
                {"name": "PLAIN", "value": "1"},
                {"name": "HIDDEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "source": {"configMap": {"name": "code"}},
            "resources": {"requests": {"cpu": "500m"}, "limits": {"nvidia.com/gpu": 1}},
            "template": {
                "labels": {"team": "a"},
                "annotations": {"note": "b"},
                "tolerations": [
                    {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
                    {"operator": "Equal", "value": "x", "tolerationSeconds": 5},
                ],
                "serviceAccountName": "trainer",
                "imagePullSecrets": [{"name": "registry"}],
                "terminationGracePeriodSeconds": 30,
            },
        },
        "training": {"epochs": 2, "globalBatchSize": 96, "seed": 7},
        "checkpoint": {
            "store": {"persistentVolumeClaim": {"claimName": "claim", "path": "runs/1"}},
            "everySteps": 10,
            "keepLast": 2,
            "resumeFrom": 4,
        },
        "failurePolicy": {"backoffLimit": 0, "disruptionLimit": 1, "firstStepDeadlineSeconds": 9},
        "suspend": True,
        "managedBy": "kueue.x-k8s.io/multikueue",
        "activeDeadlineSeconds": 60,
        "startDeadlineSeconds": 60,
        "ttlSecondsAfterFinished": 0,
    },
}
CASSANDRA: dict[str, Any] = KINDS | {
    "metadata": {"name": "readings"},
    "spec": {
        "data": {
            "cassandra": {
                "service": {"name": "cassandra", "port": 9042},
                "keyspace": "k",
                "table": "t",
                "columns": ["a"],
                "where": "a > 1",
                "datacenter": "dc1",
                "credentials": {"secretName": "user"},
            }
        },
        "trainer": {"command": ["train"]},
        "checkpoint": {
            "store": {
                "s3": {
                    "bucket": "models",
                    "prefix": "a/b",
                    "endpoint": "https://s3.example.org",
                    "region": "eu-1",
                    "credentials": {"secretName": "s3"},
                }
            }
        },
    },
}


@dataclass(frozen=True, slots=True)
class Server:
    """The API server by its own protocol: hundreds of requests a second."""

    connection: http.client.HTTPSConnection

    @classmethod
    def of(cls, cluster: Cluster) -> Self:
        pki = cluster.kubeconfig.parent
        address = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        host = address.removeprefix("https://")
        return cls(http.client.HTTPSConnection(host, context=context, timeout=30))

    def complaint(self, job: Mapping[str, Any]) -> str | None:
        """What is said against creating the job; nothing is created."""
        path = "/apis/insitu.dev/v1alpha1/namespaces/default/trainingjobs"
        strict = "?dryRun=All&fieldValidation=Strict"
        headers = {"Content-Type": "application/json"}
        self.connection.request("POST", path + strict, json.dumps(job), headers)
        answer = self.connection.getresponse()
        said = json.loads(answer.read())
        if answer.status == http.HTTPStatus.CREATED:
            return None
        assert answer.status in (http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.UNPROCESSABLE_ENTITY)
        return str(said["message"])


def changed(job: Mapping[str, Any], path: str, value: object) -> dict[str, Any]:
    copied: dict[str, Any] = copy.deepcopy(dict(job))
    *folders, last = path.split(".")
    here = copied
    for folder in folders:
        here = here.setdefault(folder, {})
    here[last] = value
    return copied
