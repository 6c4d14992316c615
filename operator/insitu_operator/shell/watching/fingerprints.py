"""What of an object can change a decision; all else that changes in it is noise. Pure.

Our own status writes and bindings come back as events, and machines and pods report their health
again and again: none of that is worth a look at a job.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]

_TELLING = ("PodScheduled", "DisruptionTarget")


def training_job(body: Json) -> Hashable:
    """Its identity, its spec, and whether it is on its way out."""
    metadata = body["metadata"]
    return metadata["uid"], metadata.get("generation", 0), "deletionTimestamp" in metadata


def pod(body: Json) -> Hashable:
    """Where it is, what its containers do, and why it does not start."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status", {})
    gates = tuple(sorted(gate["name"] for gate in spec.get("schedulingGates", ())))
    leaving = metadata.get("deletionTimestamp")
    if gates:
        return gates, leaving  # The scheduler says that it is gated; that is known.
    return (
        status.get("phase"),
        status.get("reason"),
        spec.get("nodeName"),
        leaving,
        tuple(_conditions(status.get("conditions", ()))),
        tuple(_containers(status.get("initContainerStatuses", ()))),
        tuple(_containers(status.get("containerStatuses", ()))),
    )


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


def _conditions(conditions: Iterable[Json]) -> Iterable[Hashable]:
    for condition in conditions:
        if condition["type"] in _TELLING:
            yield tuple(condition.get(key) for key in ("type", "status", "reason", "message"))


def _containers(statuses: Iterable[Json]) -> Iterable[Hashable]:
    for status in statuses:
        for state, details in status.get("state", {}).items():
            told = tuple(details.get(key) for key in ("reason", "message", "exitCode"))
            yield status["name"], state, told, status.get("restartCount")
