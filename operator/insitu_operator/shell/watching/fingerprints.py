"""What of an object can change a decision; all else that changes in it is noise. Pure.

Our own status writes and bindings come back as events, and machines and pods report their health
again and again: none of that is worth a look at a job.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from insitu_operator.core.objects.containers import steady
from insitu_operator.core.objects.names import GATE

Json = Mapping[str, Any]

_TELLING = ("PodScheduled", "DisruptionTarget")
_NO_ALARM = (("True", None), ("False", "SchedulingGated"))
_PREPARING = (None, "ContainerCreating", "PodInitializing")


class Stage(enum.Enum):
    """Of a pod's life, as far as nothing is wrong."""

    COMING = "it waits for a binding, a machine or its container"
    RUNNING = "its container runs"
    OTHER = "it ended, or something may be wrong"


def training_job(body: Json) -> Hashable:
    """Its identity, its spec, and whether it is on its way out."""
    metadata = body["metadata"]
    return metadata["uid"], metadata.get("generation", 0), "deletionTimestamp" in metadata


def pod(body: Json) -> Hashable:
    """Where it is, what its containers do, and why it does not start.

    The gates of others count, and our own does not: nobody else takes it away.
    """
    metadata, spec, status = body["metadata"], body["spec"], body.get("status", {})
    gates = tuple(sorted({gate["name"] for gate in spec.get("schedulingGates", ())} - {GATE}))
    leaving = metadata.get("deletionTimestamp")
    if stage(body) is Stage.COMING:
        return gates, leaving
    return (
        status.get("phase"),
        status.get("reason"),
        spec.get("nodeName"),
        leaving,
        tuple(_conditions(status.get("conditions", ()))),
        tuple(_containers(status.get("initContainerStatuses", ()))),
        tuple(_containers(status.get("containerStatuses", ()))),
    )


def stage(body: Json) -> Stage:
    """How far a pod is."""
    status = body.get("status", {})
    states = [
        (kind, details.get("reason"))
        for container in (*status.get("initContainerStatuses", ()), *_own(status))
        for kind, details in container.get("state", {}).items()
    ]
    phase, reason = status.get("phase", "Pending"), status.get("reason")
    if reason or any(map(_alarming, status.get("conditions", ()))):
        return Stage.OTHER
    if phase == "Pending" and all(kind == "waiting" and why in _PREPARING for kind, why in states):
        return Stage.COMING
    own = [kind for container in _own(status) for kind in container.get("state", {})]
    if phase == "Running" and own and all(kind == "running" for kind in own):
        return Stage.RUNNING
    return Stage.OTHER


def endpoint_slice(body: Json) -> Hashable:
    """Addresses and ports, who is ready, and where."""
    return (
        tuple((port.get("name"), port.get("port")) for port in body.get("ports") or ()),
        tuple(
            (
                tuple(endpoint.get("addresses", ())),
                endpoint.get("conditions", {}).get("ready"),
                endpoint.get("nodeName"),
                endpoint.get("targetRef", {}).get("uid"),
            )
            for endpoint in body.get("endpoints") or ()
        ),
    )


def _own(status: Json) -> Iterable[Json]:
    found: Iterable[Json] = status.get("containerStatuses", ())
    return found


def _alarming(condition: Json) -> bool:
    if condition["type"] == "PodScheduled":
        return (condition["status"], condition.get("reason")) not in _NO_ALARM
    return str(condition["type"]) == "DisruptionTarget"


def _conditions(conditions: Iterable[Json]) -> Iterable[Hashable]:
    for condition in conditions:
        if condition["type"] in _TELLING:
            yield tuple(condition.get(key) for key in ("type", "status", "reason", "message"))


def _containers(statuses: Iterable[Json]) -> Iterable[Hashable]:
    for status in statuses:
        for state, details in status.get("state", {}).items():
            told = steady(details.get("reason") or "", details.get("message") or "")
            yield status["name"], state, told, details.get("exitCode"), status.get("restartCount")
