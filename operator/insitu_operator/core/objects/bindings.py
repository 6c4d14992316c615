"""Binding a gated pod to its rank's part of the plan, and to the machine of its database node."""

from __future__ import annotations

from collections.abc import Mapping

from insitu.api import TrainingJob
from insitu.contract import Assignment, own_names, packed, to_document, to_environ
from insitu.databases import DataSource
from insitu.errors import ConfigurationError
from insitu.topology import Topology
from insitu_operator.core.assignments import assignments
from insitu_operator.core.objects.mounts import DOCUMENT, in_pod, store_url
from insitu_operator.core.objects.names import ASSIGNMENT, GATE, HOSTNAME, VARIABLE, master
from insitu_operator.core.objects.owners import Json
from insitu_operator.core.objects.pods import generation_of, rank_of
from insitu_operator.core.record import Record

PLAIN_BYTES = 4_000
"""Documents up to this size can be read with kubectl. Larger ones are packed to a tenth: whoever
watches pods is sent all of it whenever anything changes about one.
"""

ANNOTATION_BYTES = 256 << 10
"""Of all annotations of an object (kubernetes/apimachinery, pkg/api/validation/objectmeta.go)."""


def pod_assignments(
    job: TrainingJob, record: Record, topology: Topology, source: DataSource
) -> tuple[Assignment, ...]:
    """What each rank is told, by rank, with addresses and files as they are in a pod."""
    return assignments(
        job,
        record,
        topology,
        source=in_pod(source),
        store=store_url(job),
        master=master(job.metadata.name, record.generation),
    )


def binding(pod: Json, assignment: Assignment, hostname: str) -> Json:
    """The strategic merge patch; the API server refuses it for any other pod of that name.

    `hostname` is the value of the label `kubernetes.io/hostname` of the machine. Only Insitu's
    gate is removed: one of a queueing system stays.

    Raises:
        ConfigurationError: the rank's shards are too many for a pod's annotations.
    """
    assert (rank_of(pod), generation_of(pod)) == (assignment.rank, assignment.generation)
    annotations = _annotations(assignment)
    _check_size(assignment, (pod["metadata"].get("annotations") or {}) | annotations)
    return {
        "metadata": {"uid": pod["metadata"]["uid"], "annotations": annotations},
        "spec": {
            "nodeSelector": {HOSTNAME: hostname},
            "schedulingGates": [{"$patch": "delete", "name": GATE}],
        },
    }


def _annotations(assignment: Assignment) -> dict[str, str]:
    environ = to_environ(assignment, DOCUMENT)
    own = sorted(own_names(assignment.source.kind) - {"RANK"})
    text = to_document(assignment)
    return {
        **{VARIABLE + name: environ[name] for name in own},
        ASSIGNMENT: text if len(text.encode()) <= PLAIN_BYTES else packed(text),
    }


def _check_size(assignment: Assignment, annotations: Mapping[str, str]) -> None:
    size = sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items())
    if size > ANNOTATION_BYTES:
        raise ConfigurationError(
            f"rank {assignment.rank} has {len(assignment.shards)} shards: with them the"
            f" annotations of its pod take {size} bytes, and Kubernetes allows {ANNOTATION_BYTES}."
            " Let the table have fewer shards, or the database more nodes"
        )
