"""Pods and nodes as an API server gives them, in few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from insitu_operator.core.objects.machines import NodeState
from insitu_operator.core.objects.names import GATE, batch_job_name
from insitu_operator.core.objects.owners import Json

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

GRACE = 30


def at(seconds: float) -> str:
    """A time so many seconds from now, as Kubernetes writes it."""
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(
    rank: int = 0,
    *,
    phase: str = "Pending",
    node: str = "",
    gates: Iterable[str] = (),
    state: Json | None = None,
    conditions: Iterable[Json] = (),
    leaving: float | None = None,
    generation: int = 1,
    memory: str = "",
    **status: Any,
) -> Json:
    """A trainer's pod; `leaving` is when it has to be gone, in seconds from now."""
    name = batch_job_name("digits", generation)
    metadata: Json = {
        "name": f"{name}-{rank}-abcde",
        "uid": f"uid-{rank}",
        "labels": {
            "insitu.dev/managed": "true",
            "insitu.dev/job": "digits",
            "insitu.dev/job-uid": "u",
            "insitu.dev/generation": str(generation),
        },
        "annotations": {"batch.kubernetes.io/job-completion-index": str(rank)},
        "ownerReferences": [{"kind": "Job", "name": name, "uid": "j", "controller": True}],
    }
    if leaving is not None:
        metadata |= {"deletionTimestamp": at(leaving), "deletionGracePeriodSeconds": GRACE}
    container: Json = {"name": "trainer", "image": "trainer:1"}
    if memory:
        container["resources"] = {"limits": {"memory": memory}}
    spec: Json = {"containers": [container]}
    if node:
        spec["nodeName"] = node
    if gates:
        spec["schedulingGates"] = [{"name": gate} for gate in gates]
    statuses = [{"name": "trainer", "state": state}] if state else []
    found = {"conditions": list(conditions), "containerStatuses": statuses, **status}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase, **found}}


def asked_to_leave(pod: Json) -> datetime | None:
    """When somebody asked the pod to leave, by the clock of `NOW`."""
    due = pod["metadata"].get("deletionTimestamp")
    return datetime.fromisoformat(due) - timedelta(seconds=GRACE) if due else None


def gated(rank: int = 0, **changes: Any) -> Json:
    """A pod that nothing is bound to yet."""
    return pod(rank, gates=[GATE], **changes)


def running(rank: int = 0, node: str = "node-1", **changes: Any) -> Json:
    """A pod whose trainer has run for a minute."""
    state = {"running": {"startedAt": at(-60)}}
    return pod(rank, phase="Running", node=node, state=state, **changes)


def ended(code: int, reason: str = "Error", message: str = "", **changes: Any) -> Json:
    """A pod whose trainer ended 5 s ago."""
    times = {"startedAt": at(-60), "finishedAt": at(-5)}
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}}
    phase = "Failed" if code else "Succeeded"
    return pod(**{"phase": phase, "node": "node-1", "state": state, **changes})


def blocked(reason: str, message: str = "") -> Json:
    """A pod on a machine whose container does not come to run."""
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(node="node-1", state=state)


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Json:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": at(-20),
    }


def node(
    name: str = "node-1",
    *,
    ready: str = "True",
    labels: Mapping[str, str] | None = None,
    addresses: Iterable[str] = (),
    taints: Iterable[Json] = (),
    cordoned: bool = False,
    **allocatable: str,
) -> Json:
    """A Node; its host name label is its name in capitals, unless `labels` are given."""
    label = {"kubernetes.io/hostname": name.upper()}
    return {
        "metadata": {"name": name, "labels": label if labels is None else dict(labels)},
        "spec": {"unschedulable": cordoned, "taints": list(taints)},
        "status": {
            "conditions": [condition("Ready", ready)],
            "addresses": [{"type": "InternalIP", "address": a} for a in addresses],
            "allocatable": {"cpu": "4", "memory": "8Gi", **allocatable},
        },
    }


def states(*nodes: Json) -> dict[str, NodeState]:
    """Of nodes, by name."""
    found = (NodeState.from_object(n) for n in nodes)
    return {state.name: state for state in found}
