"""The headless Service by which the ranks of a job find each other."""

from __future__ import annotations

from insitu.api import Framework, TrainingJob
from insitu_operator.core.objects.names import (
    INDEX,
    JOB_UID,
    MANAGED,
    MASTER_PORT,
    WORKER_PORT,
    service_name,
)
from insitu_operator.core.objects.owners import Json, metadata


def trainer_service(job: TrainingJob) -> Json:
    """One for all generations: a pod's host name says whose it is.

    Only rank 0 is behind it: the others tell it their addresses when they meet, and with all of
    them there the cluster would write down the same list anew for each pod that starts. But for
    TensorFlow, whose `TF_CONFIG` names all of them.
    """
    every_rank = job.spec.trainer.framework is Framework.TENSORFLOW
    first = {} if every_rank else {INDEX: "0"}
    ports = [{"name": "rendezvous", "port": MASTER_PORT}]
    if every_rank:
        ports.append({"name": "tensorflow", "port": WORKER_PORT})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(job, service_name(job.metadata.name)),
        "spec": {
            "clusterIP": "None",
            # Ranks meet before any of them is ready for anything.
            "publishNotReadyAddresses": True,
            "selector": {MANAGED: "true", JOB_UID: job.metadata.uid, **first},
            "ports": ports,
        },
    }
