"""Where whole jobs run: the operator from its chart, and a namespace that gives no privileges."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from testbed.cluster import Cluster, Image
from tests.cluster.charts import Chart
from tests.cluster.databases import IGNITE, Database, Kind
from tests.cluster.manifests import Space
from tests.cluster.submitted import PATIENCE_SECONDS, Submitted
from tests.cluster.trainingjobs import KINDS

TABLE = "ROWS"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
_OPERATOR = "deployment/insitu"

Json = dict[str, Any]


@contextmanager
def restricted(cluster: Cluster, image: str, prefix: str = "test") -> Iterator[Space]:
    """A new namespace that takes only pods without any privilege; it ends with the block."""
    space = Space(cluster, f"{prefix}-{secrets.token_hex(4)}", image)
    cluster.kubectl("create", "namespace", space.name)
    cluster.kubectl("label", "namespace", space.name, RESTRICTED)
    cluster.wait(space.without_account)
    try:
        yield space
    finally:
        gone = ("--ignore-not-found", "--wait=false")
        cluster.kubectl("delete", "namespace", space.name, *gone)


@dataclass(frozen=True)
class Release:
    """The operator as the chart installs it, for all namespaces."""

    chart: Chart

    @contextmanager
    def away(self) -> Iterator[None]:
        """No operator runs within the block."""
        self._scale(0)
        try:
            yield
        finally:
            self._scale(1)

    @contextmanager
    def without(self, verb: str, resource: str) -> Iterator[None]:
        """Within the block the operator lacks this right in all namespaces."""
        cluster, name = self._cluster, f"{self.chart.space.name}-insitu-jobs"
        role = json.loads(cluster.kubectl("get", "clusterrole", name, "-o", "json"))
        less = [_less(rule, verb, resource) for rule in role["rules"]]
        try:
            self._rule(name, less)
            yield
        finally:
            self._rule(name, role["rules"])

    def complaints(self) -> list[str]:
        """What the operator that runs has logged of warnings and errors."""
        log = self.chart.space.kubectl("logs", _OPERATOR)
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        return [line["message"] for line in lines if line["level"] in ("warning", "error")]

    @property
    def _cluster(self) -> Cluster:
        return self.chart.space.cluster

    def _rule(self, name: str, rules: Sequence[Json]) -> None:
        patch = json.dumps({"rules": rules})
        self._cluster.kubectl("patch", "clusterrole", name, "--type=merge", "-p", patch)

    def _scale(self, replicas: int) -> None:
        kubectl = self.chart.space.kubectl
        kubectl("scale", _OPERATOR, f"--replicas={replicas}")
        kubectl("rollout", "status", _OPERATOR, f"--timeout={PATIENCE_SECONDS:.0f}s")
        operators = "app.kubernetes.io/name=insitu"
        self._cluster.wait(
            lambda: (
                None
                if len(kubectl("get", "pods", "-l", operators, "-o", "name").split()) == replicas
                else f"there are not {replicas} operators"
            )
        )


@contextmanager
def released(cluster: Cluster, operator: Image, **trainers: Image) -> Iterator[Release]:
    """`helm install`, and its end. Jobs that name no image run in that of their framework."""
    with restricted(cluster, operator.name, "insitu") as space:
        release = Release(Chart(space))
        values = [
            "replicas=1",
            "watchNamespaces={*}",
            *_image("images.operator", operator),
            *(
                v
                for name, image in trainers.items()
                for v in _image(f"images.trainers.{name}", image)
            ),
        ]
        settings = [f"--set={value}" for value in values]
        release.chart.install(*settings, "--wait", f"--timeout={PATIENCE_SECONDS:.0f}s")
        try:
            yield release
        finally:
            release.chart.uninstall()


@dataclass(frozen=True)
class Site:
    """A namespace with a Service that leads to a database, and an image for trainers."""

    space: Space
    kind: Kind = IGNITE

    @property
    def service(self) -> str:
        return self.kind.name

    def submit(self, name: str = "job", **spec: Any) -> Submitted:
        """Applies the job. `spec` replaces whole parts of one that ends well at once."""
        self.space.apply(self.manifest(name, **spec))
        return Submitted(self.space, name)

    def manifest(self, name: str = "job", **spec: Any) -> Json:
        return KINDS | {
            "metadata": {"name": name},
            "spec": {"data": self.data(), "trainer": self.trainer("true"), **spec},
        }

    def data(self, table: str = TABLE, **reach: Any) -> Json:
        """`spec.data`."""
        return self.kind.data(self.service, table, **reach)

    def trainer(self, *command: str, **trainer: Any) -> Json:
        """`spec.trainer` of a command that knows nothing of training."""
        described = {"framework": "None", "image": self.space.image, "command": list(command)}
        return {**described, **trainer}

    def serve(self, database: Database, *, ready: bool = True) -> None:
        """A Service of this namespace that leads to a database in another one.

        It stays as it is when pods of the database are replaced.
        """
        ports = [{"name": "client", "port": database.port}]
        self.space.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": self.service},
                "spec": {"ports": ports},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": self.service,
                    "labels": {"kubernetes.io/service-name": self.service},
                },
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [
                    {"addresses": [p.ip], "conditions": {"ready": ready}, "nodeName": p.node}
                    for p in database.pods
                ],
            },
        )


def _less(rule: Json, verb: str, resource: str) -> Json:
    if resource not in rule["resources"]:
        return rule
    return rule | {"verbs": [one for one in rule["verbs"] if one != verb]}


def _image(where: str, image: Image) -> list[str]:
    repository, _, tag = image.name.rpartition(":")
    return [f"{where}.repository={repository}", f"{where}.tag={tag}"]
