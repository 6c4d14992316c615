"""The Helm chart as a release in a namespace, and what its service account may do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.manifests import Space

CHART = str(Path(__file__).parents[2] / "charts" / "insitu")
Json = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A release called insitu in a namespace of its own."""

    space: Space

    def install(self, *options: str) -> str:
        return self._helm("install", "insitu", CHART, *options)

    def upgrade(self, *options: str) -> str:
        return self._helm("upgrade", "insitu", CHART, "--reuse-values", *options)

    def uninstall(self) -> None:
        self._helm("uninstall", "insitu", "--wait", "--ignore-not-found")

    def render(self, *options: str) -> list[Json]:
        text = self._helm("template", "insitu", CHART, "--kube-version=1.34", *options)
        return [found for found in yaml.safe_load_all(text) if found]

    def jobs(self) -> list[str]:
        found = self.space.cluster.kubectl.items("trainingjobs", "-n", self.space.name)
        return [job["metadata"]["name"] for job in found]

    def missing(self, name: str, field: str) -> str | None:
        """A problem while the field of this object is empty."""
        found = self.space.kubectl("get", name, "-o", f"jsonpath={field}")
        return None if found else f"{name} has no {field}"

    def kubeconfig(self, folder: Path) -> Path:
        """Of the operator's account."""
        config = yaml.safe_load(self.space.cluster.kubeconfig.read_text())
        token = self.space.kubectl("create", "token", "insitu").strip()
        config["users"][0]["user"] = {"token": token}
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        return file

    def create(self, document: Json, *options: str) -> str:
        """In the release's namespace, unless the document names its own."""
        asked = ("create", "--namespace", self.space.name, "-f", "-", *options)
        return self.space.cluster.kubectl(*asked, input=json.dumps(document))

    def may(self, verb: str, resource: str, account: str = "insitu") -> bool:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "LocalSubjectAccessReview",
            "metadata": {"namespace": self.space.name},
            "spec": {
                "user": self._user(account),
                "resourceAttributes": {
                    "namespace": self.space.name,
                    "verb": verb,
                    "group": "insitu.dev" if "trainingjobs" in resource else "",
                    "resource": resource.partition("/")[0],
                    "subresource": resource.partition("/")[2],
                },
            },
        }
        return bool(json.loads(self.create(review, "-o", "json"))["status"]["allowed"])

    def rights(self, namespace: str) -> set[tuple[str, str, str]]:
        """All that the operator's account may do there, but for what everybody may."""
        everybody = self._rules(namespace, "nobody")
        return self._rules(namespace, "insitu") - everybody

    def _rules(self, namespace: str, account: str) -> set[tuple[str, str, str]]:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        }
        said = self.create(review, "-o", "json", "--validate=false", f"--as={self._user(account)}")
        return {
            (verb, f"{resource}.{group}" if group else resource, name)
            for rule in json.loads(said)["status"]["resourceRules"]
            for verb in rule["verbs"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for name in rule.get("resourceNames") or [""]
        }

    def _user(self, account: str) -> str:
        return f"system:serviceaccount:{self.space.name}:{account}"

    def _helm(self, command: str, *arguments: str) -> str:
        return self.space.cluster.helm(command, "--namespace", self.space.name, *arguments)


def container_of(objects: list[Json]) -> Json:
    deployment = next(found for found in objects if found["kind"] == "Deployment")
    container: Json = deployment["spec"]["template"]["spec"]["containers"][0]
    return container
