"""Which objects belong to which TrainingJob: by owner and uid, never by name or label alone."""

from __future__ import annotations

from typing import Any

from insitu.api import GROUP, KIND, VERSION, TrainingJob
from insitu_operator.core.objects.names import GENERATION, JOB, JOB_UID, MANAGED

Json = dict[str, Any]
"""An object of the Kubernetes API, as JSON has it."""


def metadata(job: TrainingJob, name: str, generation: int | None = None) -> Json:
    """Name, labels and owner of an object that goes when its job goes."""
    return {
        "name": name,
        "namespace": job.metadata.namespace,
        "labels": labels(job, generation),
        "ownerReferences": [
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "name": job.metadata.name,
                "uid": job.metadata.uid,
                "controller": True,
                # True would ask for rights on the finalizers of the job, and nobody waits for it.
                "blockOwnerDeletion": False,
            }
        ],
    }


def labels(job: TrainingJob, generation: int | None = None) -> dict[str, str]:
    """By which a job's objects are found; they prove nothing."""
    found = {MANAGED: "true", JOB: job.metadata.name, JOB_UID: job.metadata.uid}
    return found if generation is None else {**found, GENERATION: str(generation)}


def controller(thing: Json) -> Json:
    """The owner reference of an object's controller; empty if it has none."""
    references: list[Json] = thing["metadata"].get("ownerReferences") or []
    return next((r for r in references if r.get("controller")), {})


def belongs_to(thing: Json, job: TrainingJob) -> bool:
    """Whether the object was made for this very job, not for one of the same name before it."""
    return bool(job.metadata.uid) and controller(thing).get("uid") == job.metadata.uid


def owner_in_words(thing: Json) -> str:
    """For a message about an object that is in the way."""
    owner = controller(thing)
    return f"{owner['kind']} {owner['name']}" if owner else "nobody"
