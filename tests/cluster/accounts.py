"""Service accounts that may only what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.cluster.manifests import Space

Rule = dict[str, Any]


def rule(verbs: str, resources: str, group: str = "") -> Rule:
    """Verbs and resources are separated by spaces."""
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}


def account(space: Space, folder: Path, *rules: Rule) -> Path:
    """The kubeconfig of a new account with these rights in the namespace, and no others."""
    name = "limited"
    space.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name},
            "rules": list(rules),
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": space.name}],
        },
    )
    config = yaml.safe_load(space.cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": space.kubectl("create", "token", name).strip()}
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file
