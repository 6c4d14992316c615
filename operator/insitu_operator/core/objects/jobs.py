"""The Indexed Job of one generation: as many gated pods as there are ranks.

There is one Job for each generation, because a completed index of an Indexed Job never runs
again, and because a pod of an earlier generation can then never be taken for one of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from insitu.api import TrainingJob
from insitu.api.trainer import TaintEffect, Toleration, TolerationOperator
from insitu.databases import DataSource
from insitu.errors import ConfigurationError
from insitu_operator.core.objects.environment import environment
from insitu_operator.core.objects.mounts import SOURCE, volume_mounts, volumes
from insitu_operator.core.objects.names import (
    CONTAINER,
    DEFAULT_CONTAINER,
    GATE,
    batch_job_name,
    service_name,
)
from insitu_operator.core.objects.owners import Json, labels, metadata
from insitu_operator.core.objects.settings import TrainerSettings
from insitu_operator.core.objects.taints import Taint, tolerated
from insitu_operator.core.record import Record

USER_ID = 10001
LOST_SECONDS = 30
"""How long a pod stays on a machine that nobody hears of; the ranks beside it can't go on."""

_NEVER = 2**31 - 1
_LOST = (
    Taint("node.kubernetes.io/not-ready", "NoExecute"),
    Taint("node.kubernetes.io/unreachable", "NoExecute"),
)


def batch_job(
    job: TrainingJob, record: Record, source: DataSource, settings: TrainerSettings
) -> Json:
    """With a place for each rank of the recorded plan.

    `source` is the opened `spec.data`: of its TLS files only the names of those that are there
    matter, and its secrets enter nothing.

    Raises:
        ConfigurationError: the job names no image, and there is none for its framework.
    """
    count, generation = record.plan.world_size, record.generation
    name = batch_job_name(job.metadata.name, generation)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(job, name, generation),
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": count,
            # What follows a failure is for Insitu to decide.
            "backoffLimit": _NEVER,
            "podReplacementPolicy": "Failed",
            "template": _template(job, record, source, settings),
        },
    }


def image(job: TrainingJob, settings: TrainerSettings) -> str:
    """Of the trainers.

    Raises:
        ConfigurationError: the job names none, and there is none for its framework.
    """
    trainer = job.spec.trainer
    found = trainer.image or settings.images.get(trainer.framework)
    if not found:
        raise ConfigurationError(
            f"spec.trainer.image is not set, and the operator was given no image for framework"
            f" {trainer.framework}: name an image that holds `insitu-run` and the script's"
            " dependencies"
        )
    return found


def _template(
    job: TrainingJob, record: Record, source: DataSource, settings: TrainerSettings
) -> Json:
    template = job.spec.trainer.template
    optional: Json = {
        "serviceAccountName": template.service_account_name,
        "priorityClassName": template.priority_class_name,
        "runtimeClassName": template.runtime_class_name,
        "imagePullSecrets": [{"name": s.name} for s in template.image_pull_secrets],
    }
    return {
        "metadata": {
            "labels": {**template.labels, **labels(job, record.generation)},
            "annotations": {DEFAULT_CONTAINER: CONTAINER, **template.annotations},
        },
        "spec": {
            "schedulingGates": [{"name": GATE}],
            "restartPolicy": "Never",
            "subdomain": service_name(job.metadata.name),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": template.termination_grace_period_seconds,
            "tolerations": _tolerations(template.tolerations),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                # Else each start would walk through all checkpoints of the store.
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(job, record, source, settings)],
            "volumes": volumes(job, source, settings),
            **{key: value for key, value in optional.items() if value},
        },
    }


def _container(
    job: TrainingJob, record: Record, source: DataSource, settings: TrainerSettings
) -> Json:
    trainer = job.spec.trainer
    optional: Json = {
        "imagePullPolicy": settings.pull_policy,
        "workingDir": str(SOURCE) if trainer.source else None,
        "resources": _resources(trainer.resources.requests, trainer.resources.limits),
    }
    return {
        "name": CONTAINER,
        "image": image(job, settings),
        "command": ["insitu-run", "--", *trainer.command],
        "args": list(trainer.args),
        "env": environment(job, record, source, settings),
        "volumeMounts": volume_mounts(job),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        **{key: value for key, value in optional.items() if value},
    }


def _resources(requests: Mapping[str, str], limits: Mapping[str, str]) -> Json:
    both = {"requests": dict(requests), "limits": dict(limits)}
    return {key: value for key, value in both.items() if value}


def _tolerations(asked: Sequence[Toleration]) -> list[Json]:
    """The user's, and short ones in place of the five minutes that Kubernetes would add."""
    short = [
        Toleration(
            key=taint.key,
            operator=TolerationOperator.EXISTS,
            effect=TaintEffect.NO_EXECUTE,
            toleration_seconds=LOST_SECONDS,
        )
        for taint in _LOST
        if not tolerated(taint, asked)
    ]
    return [t.model_dump(mode="json", by_alias=True, exclude_none=True) for t in (*asked, *short)]
