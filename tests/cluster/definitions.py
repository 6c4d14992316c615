"""The definition of TrainingJob, in a cluster that is to know it."""

from __future__ import annotations

from pathlib import Path

from testbed.cluster import Cluster

CRD = Path(__file__).parents[2] / "crds" / "insitu.dev_trainingjobs.yaml"
NAME = "trainingjobs.insitu.dev"


def define(cluster: Cluster) -> None:
    """Returns when the API server takes TrainingJobs."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    wait_established(cluster)


def wait_established(cluster: Cluster) -> None:
    """kubectl alone fails on a definition that is so new that it has no conditions."""

    def problem() -> None:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{NAME}", "--timeout=5s")

    cluster.wait(problem)
