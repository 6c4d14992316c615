"""The environment of a trainer's container: what is alike for all ranks, and where the rest is."""

from __future__ import annotations

from insitu.api import Framework, TrainingJob
from insitu.contract import (
    SECRET_VARIABLES,
    Assignment,
    Reporting,
    credential_names,
    own_names,
    tf_config,
    to_environ,
)
from insitu.databases import DataSource
from insitu.topology import DatabaseNode, NodeId
from insitu_operator.core.objects.mounts import DOCUMENT, SCRATCH, TOKEN, in_pod
from insitu_operator.core.objects.names import INDEX, VARIABLE, master, workers
from insitu_operator.core.objects.owners import Json
from insitu_operator.core.objects.quantities import quantity
from insitu_operator.core.objects.settings import TrainerSettings
from insitu_operator.core.record import Record
from insitu_operator.core.stores import S3_SECRETS, s3_variables


def environment(
    job: TrainingJob, record: Record, source: DataSource, settings: TrainerSettings
) -> list[Json]:
    """The user's variables, then Insitu's own, which always win. Secrets are only referred to."""
    insitu = _insitus(job, record, source, settings)
    user = {v.name: v for v in job.spec.trainer.env}
    return [
        *(_plain(n, v) for n, v in _defaults(job).items() if n not in user and n not in insitu),
        *(
            v.model_dump(mode="json", by_alias=True, exclude_none=True)
            for name, v in user.items()
            if name not in insitu
        ),
        *insitu.values(),
        _plain(SECRET_VARIABLES, secret_variables(job)),
    ]


def secret_variables(job: TrainingJob) -> str:
    """The names of the variables whose values must not appear in a status, with commas.

    Names of users and of keys may.
    """
    found = {v.name for v in job.spec.trainer.env if v.value_from is not None}
    if job.spec.data.reach.credentials and (names := credential_names(job.spec.data.kind)):
        found.add(names[1])
    store = job.spec.checkpoint.store
    if store and store.s3 and store.s3.credentials:
        found.add("AWS_SECRET_ACCESS_KEY")
    return ",".join(sorted(found))


def _defaults(job: TrainingJob) -> dict[str, str]:
    """A home that can be written to, a name that programs may look up, and threads that fit."""
    values = {"HOME": str(SCRATCH), "USER": "insitu"}
    if cores := job.spec.trainer.resources.limits.get("cpu"):
        values["OMP_NUM_THREADS"] = str(max(1, int(quantity(cores))))
    return values


def _insitus(
    job: TrainingJob, record: Record, source: DataSource, settings: TrainerSettings
) -> dict[str, Json]:
    alike = to_environ(_any_rank(job, record, source), DOCUMENT)
    if settings.heartbeat_url:
        alike |= Reporting(heartbeat=settings.heartbeat_url, heartbeat_token=TOKEN).to_environ()
    found = {name: _plain(name, value.replace("$", "$$")) for name, value in alike.items()}
    for name in sorted(own_names(source.kind)):
        annotation = INDEX if name == "RANK" else VARIABLE + name
        found[name] = _field(name, annotation)
    return found | _tf_config(job, record) | _credentials(job) | _store(job)


def _tf_config(job: TrainingJob, record: Record) -> dict[str, Json]:
    """The same text in all pods, in which Kubernetes puts each pod's own rank: after `RANK`."""
    if job.spec.trainer.framework is not Framework.TENSORFLOW:
        return {}
    all_ranks = workers(job.metadata.name, record.generation, record.plan.world_size)
    return {tf_config.NAME: _plain(tf_config.NAME, tf_config.shared(all_ranks, "$(RANK)"))}


def _any_rank(job: TrainingJob, record: Record, source: DataSource) -> Assignment:
    """With nothing in the fields that are a rank's own."""
    return Assignment(
        job=job.metadata.name,
        generation=record.generation,
        rank=0,
        world_size=record.plan.world_size,
        source=in_pod(source),
        node=DatabaseNode(NodeId(""), "", 0),
        shards=(),
        locality=str(job.spec.placement.locality),
        master=master(job.metadata.name, record.generation),
    )


def _credentials(job: TrainingJob) -> dict[str, Json]:
    named, names = job.spec.data.reach.credentials, credential_names(job.spec.data.kind)
    if named is None or names is None:
        return {}
    keys = zip(names, ("username", "password"), strict=True)
    return {name: _from_secret(name, named.secret_name, key) for name, key in keys}


def _store(job: TrainingJob) -> dict[str, Json]:
    store = job.spec.checkpoint.store
    if store is None or store.s3 is None:
        return {}
    found = {n: _plain(n, v.replace("$", "$$")) for n, v in s3_variables(store.s3).items()}
    if named := store.s3.credentials:
        found |= {n: _from_secret(n, named.secret_name, key) for n, key in S3_SECRETS.items()}
    return found


def _plain(name: str, value: str) -> Json:
    return {"name": name, "value": value}


def _field(name: str, annotation: str) -> Json:
    path = f"metadata.annotations['{annotation}']"
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _from_secret(name: str, secret: str, key: str) -> Json:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
