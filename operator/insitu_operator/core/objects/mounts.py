"""Where a trainer finds its files in a pod, and the volumes they come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from insitu.api import TrainingJob
from insitu.databases import DataSource, Tls
from insitu_operator.core.objects.names import ASSIGNMENT
from insitu_operator.core.objects.owners import Json
from insitu_operator.core.objects.settings import TrainerSettings
from insitu_operator.core.stores import s3_url

OWN = Path("/etc/insitu")
DOCUMENT = OWN / "assignment.json"
TOKEN = OWN / "token"
SOURCE = Path("/workspace")
STORE = Path("/checkpoints")
SCRATCH = Path("/tmp")  # noqa: S108 - the pod's own, and the usual place

TOKEN_SECONDS = 600
"""The shortest life that Kubernetes gives a token; the kubelet renews it in time."""

_CA, _CERTIFICATE, _KEY = "ca.crt", "tls.crt", "tls.key"


def in_pod(source: DataSource) -> DataSource:
    """The source as a trainer opens it: its files as mounted, its credentials left to the
    environment.
    """
    tls = source.tls
    if tls is not None:
        tls = Tls(
            ca=OWN / "tls" / _CA if tls.ca else None,
            certificate=OWN / "tls" / _CERTIFICATE if tls.certificate else None,
            key=OWN / "tls" / _KEY if tls.key else None,
        )
    return replace(source, tls=tls, credentials=None)


def store_url(job: TrainingJob) -> str | None:
    """Of the checkpoint store as a trainer reaches it; None keeps no checkpoints."""
    store = job.spec.checkpoint.store
    if store is None:
        return None
    if store.s3 is not None:
        return s3_url(store.s3)
    assert store.persistent_volume_claim is not None
    return f"file://{STORE / (store.persistent_volume_claim.path or '')}"


def volumes(job: TrainingJob, source: DataSource, settings: TrainerSettings) -> list[Json]:
    """Of the pod. One volume holds all that Insitu itself hands over."""
    found: list[Json] = [
        {
            "name": "insitu",
            "projected": {"defaultMode": 0o440, "sources": _own(job, source, settings)},
        },
        {"name": "scratch", "emptyDir": {}},
    ]
    if job.spec.trainer.source:
        # Executable, for commands such as ./train.sh.
        name = job.spec.trainer.source.config_map.name
        found.append({"name": "source", "configMap": {"name": name, "defaultMode": 0o555}})
    if claim := _claim(job):
        found.append({"name": "checkpoints", "persistentVolumeClaim": {"claimName": claim}})
    return found


def volume_mounts(job: TrainingJob) -> list[Json]:
    """Of the container."""
    found: list[Json] = [
        {"name": "insitu", "mountPath": str(OWN), "readOnly": True},
        {"name": "scratch", "mountPath": str(SCRATCH)},
    ]
    if job.spec.trainer.source:
        found.append({"name": "source", "mountPath": str(SOURCE), "readOnly": True})
    if _claim(job):
        found.append({"name": "checkpoints", "mountPath": str(STORE)})
    return found


def _own(job: TrainingJob, source: DataSource, settings: TrainerSettings) -> list[Json]:
    document = {
        "path": DOCUMENT.name,
        "fieldRef": {"fieldPath": f"metadata.annotations['{ASSIGNMENT}']"},
    }
    found: list[Json] = [{"downwardAPI": {"items": [document]}}]
    if settings.heartbeat_url:
        token = {"audience": settings.audience, "path": TOKEN.name}
        found.append({"serviceAccountToken": {**token, "expirationSeconds": TOKEN_SECONDS}})
    if (named := job.spec.data.reach.tls) and (tls := source.tls):
        # A key that the Secret lacks would hold up the pod for ever.
        keys = ((_CA, tls.ca), (_CERTIFICATE, tls.certificate), (_KEY, tls.key))
        items = [{"key": key, "path": f"tls/{key}"} for key, there in keys if there]
        found.append({"secret": {"name": named.secret_name, "items": items}})
    return found


def _claim(job: TrainingJob) -> str:
    store = job.spec.checkpoint.store
    claim = store.persistent_volume_claim if store else None
    return claim.claim_name if claim else ""
