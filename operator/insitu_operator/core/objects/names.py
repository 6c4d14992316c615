"""What Insitu's objects in a cluster are called."""

from __future__ import annotations

import hashlib

GATE = "insitu.dev/placement"
"""The scheduling gate that a trainer's pod is born with, and that only a binding removes."""

MANAGED = "insitu.dev/managed"
OURS = f"{MANAGED}=true"
OTHERS = f"{MANAGED}!=true"
"""Selectors. Slices of endpoints have the labels of their Service: ours tell us nothing."""

JOB = "insitu.dev/job"
JOB_UID = "insitu.dev/job-uid"
GENERATION = "insitu.dev/generation"

ASSIGNMENT = "insitu.dev/assignment"
"""The annotation of a pod that holds its rank's document."""

VARIABLE = "insitu.dev/env-"
"""Beginning of the annotations that hold a rank's own variables."""

INDEX = "batch.kubernetes.io/job-completion-index"
"""The annotation and the label with a pod's rank, which the Job controller sets."""

HOSTNAME = "kubernetes.io/hostname"
"""The label of a machine that pods are bound by; its value need not be the machine's name."""

CONTAINER = "trainer"
"""The trainer's own container, among those that admission webhooks may add to its pod."""

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
"""The annotation that says whose logs kubectl shows, where a pod has several containers."""

FIELD_MANAGER = "insitu-operator"

MASTER_PORT = 29500
"""Each pod has an address of its own, so the port needs no choice."""

WORKER_PORT = 2222
"""Where `TF_CONFIG` says that each worker of TensorFlow listens."""

_DNS_LABEL = 63
_LARGEST_INDEX = "-9999"


def batch_job_name(job: str, generation: int) -> str:
    """Of the Indexed Job that runs one generation; with an index it is a pod's host name.

    >>> batch_job_name("digits", 2)
    'digits-g2'
    """
    end = f"-g{generation}"
    room = _DNS_LABEL - len(_LARGEST_INDEX) - len(end)
    if len(job) > room:
        digest = hashlib.sha256(job.encode()).hexdigest()[:8]
        job = f"{job[: room - len(digest) - 1]}-{digest}"
    return job + end


def plan_map_name(job: str) -> str:
    """Of the ConfigMap with the record of the newest generation."""
    return f"{job}-plan"


def service_name(job: str) -> str:
    """Of the headless Service that gives each rank a host name."""
    return f"{job}-trainers"


def workers(job: str, generation: int, count: int) -> tuple[tuple[str, int], ...]:
    """Host names of all ranks, as the pods of the job's namespace resolve them, and their ports."""
    ranks = range(count)
    name, service = batch_job_name(job, generation), service_name(job)
    return tuple((f"{name}-{rank}.{service}", WORKER_PORT) for rank in ranks)


def master(job: str, generation: int) -> tuple[str, int]:
    """Host name of rank 0, as the pods of the job's namespace resolve it, and its port."""
    return f"{batch_job_name(job, generation)}-0.{service_name(job)}", MASTER_PORT
