"""Helm, on the cluster as its administrator."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testbed.cluster.binaries import HELM, built


class HelmFailed(RuntimeError):
    """The message is what Helm said."""


@dataclass(frozen=True, slots=True)
class Helm:
    """`helm("install", "name", "charts/it")` returns what is printed.

    Args:
        kubeconfig: Names the cluster and the user.
        folder: For what Helm keeps, apart from the user's own.
    """

    kubeconfig: Path
    folder: Path

    def __call__(self, *arguments: str) -> str:
        """Runs Helm, which is built the first time.

        Raises:
            HelmFailed: its exit code is not 0.
        """
        built(HELM)
        places = {f"HELM_{kind}_HOME": str(self.folder) for kind in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [HELM.folder / "helm", f"--kubeconfig={self.kubeconfig}", *arguments],
            check=False,
            env=os.environ | places,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise HelmFailed(f"helm {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout
