"""What the tests create in a cluster, short enough to stay readable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.cluster import Cluster

# Answers every request with the name of its node.
_SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ['NODE'].encode())
http.server.ThreadingHTTPServer(('', 8000), Handler).serve_forever()
"""


@dataclass(frozen=True, slots=True)
class Space:
    """A namespace, and an image whose `python3` its pods run."""

    cluster: Cluster
    name: str
    image: str

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments)

    def apply(self, *documents: dict[str, Any]) -> None:
        for document in documents:
            document["metadata"]["namespace"] = self.name
        self.cluster.kubectl.apply(*documents)

    def pods(self, **labels: str) -> list[dict[str, Any]]:
        """In the order of their names."""
        chosen = ",".join(f"{key}={value}" for key, value in labels.items())
        found = self.cluster.kubectl.items("pods", "-n", self.name, "-l", chosen)
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def without_account(self) -> str | None:
        accounts = self.cluster.kubectl.items("serviceaccounts", "-n", self.name)
        return None if accounts else f"{self.name} has no service account yet"

    def server_on_each_node(self, name: str) -> None:
        """A DaemonSet and a Service of this name, on port 8000."""
        spec = self.pod_spec(_SERVER)
        spec["containers"][0]["readinessProbe"] = {
            "httpGet": {"path": "/", "port": 8000},
            "periodSeconds": 1,
        }
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": spec}
        self.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": name},
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"selector": labels, "ports": [{"port": 8000}]},
            },
        )
        nodes = len(self.cluster.nodes)
        self.cluster.wait(lambda: self._fewer_ready(nodes, labels))

    def gated_job(self, name: str, completions: int, gate: str, script: str) -> None:
        """An Indexed Job; the value of a pod's annotation `part` is in its environment."""
        spec = self.pod_spec(script) | {
            "restartPolicy": "Never",
            "schedulingGates": [{"name": gate}],
        }
        field = {"fieldPath": "metadata.annotations['part']"}
        spec["containers"][0]["env"].append({"name": "PART", "valueFrom": {"fieldRef": field}})
        self.apply(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name},
                "spec": {
                    "completionMode": "Indexed",
                    "completions": completions,
                    "parallelism": completions,
                    "template": {"spec": spec},
                },
            }
        )

    def pod_spec(self, script: str) -> dict[str, Any]:
        """Of a pod that runs a Python script and knows its node as `NODE`."""
        node = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
        return {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": self.image,
                    "command": ["python3", "-c", script],
                    "env": [node],
                }
            ],
        }

    def patch(self, pod: str, change: Mapping[str, Any]) -> None:
        """A strategic merge patch."""
        self.kubectl("patch", "pod", pod, "--type=strategic", "-p", json.dumps(change))

    def _fewer_ready(self, count: int, labels: Mapping[str, str]) -> str | None:
        chosen = ",".join(f"{key}={value}" for key, value in labels.items())
        ready = self.cluster.kubectl.ready("pods", "-n", self.name, "-l", chosen)
        return None if sum(ready.values()) >= count else f"{labels} are ready: {ready}"
