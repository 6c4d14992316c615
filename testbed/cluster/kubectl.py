"""The cluster's own kubectl, as its administrator."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.cluster.binaries import KUBERNETES


class KubectlFailed(RuntimeError):
    """The message is what kubectl said."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`kubectl("get", "nodes")` returns what is printed.

    Args:
        kubeconfig: Names the cluster and the user.
        cache: A folder for what kubectl remembers of the API.
    """

    kubeconfig: Path
    cache: Path

    def __call__(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - subprocess's word
        """Runs kubectl, with `input` on its standard input.

        Raises:
            KubectlFailed: its exit code is not 0.
        """
        done = subprocess.run(
            [*self.command, *arguments], check=False, capture_output=True, text=True, input=input
        )
        if done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def items(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """The objects of `kind`, in the default namespace unless `arguments` say otherwise."""
        found: list[dict[str, Any]] = json.loads(self("get", kind, "-o", "json", *arguments))[
            "items"
        ]
        return found

    def ready(self, kind: str, *arguments: str) -> dict[str, bool]:
        """Each object's name, and whether its condition `Ready` is true."""
        return {
            item["metadata"]["name"]: any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in item.get("status", {}).get("conditions", [])
            )
            for item in self.items(kind, *arguments)
        }

    def apply(self, *documents: dict[str, Any]) -> None:
        """Creates or changes what is described."""
        listed = {"apiVersion": "v1", "kind": "List", "items": documents}
        self("apply", "-f", "-", input=json.dumps(listed))

    @property
    def command(self) -> list[str]:
        """The start of a command line, for what `__call__` can't do, such as watching."""
        return [
            os.fspath(KUBERNETES.folder / "kubectl"),
            f"--kubeconfig={self.kubeconfig}",
            f"--cache-dir={self.cache}",
        ]
