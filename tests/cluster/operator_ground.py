"""Where the whole operator is put to work: its account, machines that need no machine, and jobs."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from testbed.cluster.fake_nodes import MARK, RUNS_FOR
from tests.cluster.charts import Chart
from tests.cluster.definitions import define
from tests.cluster.manifests import Space
from tests.cluster.operators import Operator, running
from tests.cluster.trainingjobs import KINDS

PROGRAM = "tests.cluster.machine_databases"
_RELEASE = "insitu"
_READS = ("get", "list")

Json = dict[str, Any]


@dataclass(frozen=True)
class Ground:
    """A namespace with the chart's rights.

    Args:
        space: The namespace.
        kubeconfig: Of the operator's account, which may do what the chart lets it, and no more.
        folder: For logs.
    """

    space: Space
    kubeconfig: Path
    folder: Path

    @contextmanager
    def operator(
        self, name: str = "operator", pod: str = "operator-0", **variables: str
    ) -> Iterator[Operator]:
        """A replica that logs as `name`, and takes itself for the container of a pod: when that
        starts again it need not wait for its own lease to run out.

        `variables` are more of its environment.
        """
        told = {
            "KUBECONFIG": str(self.kubeconfig),
            "INSITU_LEASE_NAME": _RELEASE,
            "POD_NAME": pod,
            "POD_NAMESPACE": self.space.name,
            **variables,
        }
        with running(self.space, self.folder / f"{name}.log", told, program=PROGRAM) as operator:
            yield operator

    @contextmanager
    def supervised(self, **variables: str) -> Iterator[list[Operator]]:
        """A replica that is started again whenever it ends, as by a kubelet; all there ever were,
        the one that runs last.

        `variables` are more of its environment.
        """
        started: list[Operator] = []
        over = threading.Event()

        def supervise() -> None:
            while not over.is_set():
                with self.operator(f"operator-{len(started)}", **variables) as operator:
                    started.append(operator)
                    while operator.process.poll() is None and not over.wait(0.1):
                        """It runs."""

        thread = threading.Thread(target=supervise)
        thread.start()
        try:
            yield started
        finally:
            over.set()
            thread.join()

    def submit(self, *jobs: Json) -> None:
        """With one command."""
        for job in jobs:
            job["metadata"]["namespace"] = self.space.name
        self.space.cluster.kubectl("create", "-f", "-", input=json.dumps(listed(jobs)))

    def get(self, kind: str, name: str) -> Json:
        found: Json = json.loads(self.space.kubectl("get", kind, name, "-o", "json"))
        return found

    def all(self, kind: str) -> list[Json]:
        return self.space.cluster.kubectl.items(kind, "-n", self.space.name)

    def clear(self) -> None:
        """Deletes all jobs, and returns when nothing of them is left."""
        self.space.kubectl("delete", "tjob", "--all", "--wait=false")
        self.space.cluster.wait(self._left, timeout=600)

    def _left(self) -> str | None:
        for kind in ("tjob", "jobs", "pods"):
            names = self.space.kubectl("get", kind, "-o", "name").split()
            if any("operator" not in name for name in names):
                return f"{len(names)} {kind} are left"
        return None


@contextmanager
def ground(space: Space, folder: Path, machines: int) -> Iterator[Ground]:
    """With `machines` fake nodes in the cluster, called fake-0 and so on."""
    kubectl, chart = space.cluster.kubectl, Chart(space)
    space.cluster.add_fake_nodes(machines)
    kubectl("label", "namespace", space.name, "pod-security.kubernetes.io/enforce=restricted")
    define(space.cluster)
    chart.install("--set", "replicas=0", "--set", "crds.enabled=false")
    space.apply(*(_operator_pod(number) for number in range(2)))
    try:
        yield Ground(space, chart.kubeconfig(folder), folder)
    finally:
        space.kubectl("delete", "tjob", "--all", "--wait=false")
        chart.uninstall()


def job(name: str, machines: Sequence[int], runs_for: str = "") -> Json:
    """A job whose database is on these fake nodes. `runs_for`: until its trainers end well, such
    as "5s"; without it they never end.
    """
    endpoints = [f"fake-{number}:10800" for number in machines]
    template = {
        "annotations": {RUNS_FOR: runs_for} if runs_for else {},
        "tolerations": [{"key": MARK, "operator": "Exists"}],
    }
    return KINDS | {
        "metadata": {"name": name},
        "spec": {
            "data": {"ignite": {"endpoints": endpoints, "cache": "TABLE"}},
            "trainer": {"image": "insitu.test/none:1", "command": ["train"], "template": template},
        },
    }


def _operator_pod(number: int) -> Json:
    """It never starts: what runs is a process outside."""
    safe = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "operator", "image": "insitu.test/none:1", "securityContext": safe}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"operator-{number}"},
        "spec": {"schedulingGates": [{"name": "test/gate"}], "containers": [container]},
    }


def listed(documents: Sequence[Json]) -> Json:
    return {"apiVersion": "v1", "kind": "List", "items": list(documents)}


@dataclass(frozen=True)
class Numbers:
    """What an operator counts about itself."""

    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]

    @property
    def memory(self) -> float:
        """Resident bytes."""
        return self.total("process_resident_memory_bytes")

    @property
    def cpu_seconds(self) -> float:
        return self.total("process_cpu_seconds_total")

    @property
    def requests(self) -> dict[str, int]:
        """All but those about the Lease; watches are not among them."""
        found = self._requests("verb", "resource", "status")
        return {" ".join(key): count for key, count in found.items() if "leases" not in key}

    @property
    def writes(self) -> int:
        """Those of them that change something."""
        found = self._requests("verb", "resource")
        return sum(
            count
            for (verb, resource), count in found.items()
            if verb not in _READS and resource != "leases"
        )

    def total(self, name: str) -> float:
        return sum(value for (found, _), value in self.samples.items() if found == name)

    def _requests(self, *labels: str) -> dict[tuple[str, ...], int]:
        found: dict[tuple[str, ...], int] = {}
        for (name, told), value in self.samples.items():
            if name == "insitu_api_requests_total":
                key = tuple(dict(told)[label] for label in labels)
                found[key] = found.get(key, 0) + int(value)
        return found


def numbers(operator: Operator) -> Numbers:
    """Of this moment."""
    texts = (line["message"] for line in operator.lines())
    port = next(found[1] for text in texts if (found := re.match(r"probes .* port (\d+),", text)))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return Numbers(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }
    )
