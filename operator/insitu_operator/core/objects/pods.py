"""From a trainer's pod to what the core knows of a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from insitu.progress import Heartbeat
from insitu_operator.core.objects.containers import blocked, unschedulable, why_ended
from insitu_operator.core.objects.machines import NodeState
from insitu_operator.core.objects.names import (
    CONTAINER,
    GATE,
    GENERATION,
    INDEX,
    JOB,
    MANAGED,
    batch_job_name,
)
from insitu_operator.core.objects.owners import Json, controller
from insitu_operator.core.observed import State, Worker

OVERDUE_SECONDS = 10.0
"""After its deletion time a pod whose machine answers is gone; one that is still there is lost."""

_DISRUPTIONS = {
    "PreemptionByScheduler": "made way for a pod of higher priority on",
    "DeletionByTaintManager": "driven out by a taint of",
    "EvictionByEvictionAPI": "evicted from",
    "DeletionByPodGC": "removed after the loss of",
    "TerminationByKubelet": "ended by the kubelet of",
}
"""Reasons of the condition DisruptionTarget (Kubernetes, concepts/workloads/pods/disruptions)."""


_USUAL_GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class PodTimes:
    """When a pod was first seen to have been asked to leave, to have ended and to be refused a
    machine; None for not yet, or no longer.

    These are the operator's own times. Those that Kubernetes writes into a pod are by the clocks
    of its machine and of the API server, which may differ by any amount, so that no duration is
    counted from them.
    """

    leaving: datetime | None = None
    ended: datetime | None = None
    unschedulable: datetime | None = None


NEVER = PodTimes()


def is_ours(pod: Json) -> bool:
    """Whether the pod is a rank of a job: made by a Job of ours, with all that a rank needs."""
    labels = pod["metadata"].get("labels") or {}
    generation, job = labels.get(GENERATION, ""), labels.get(JOB)
    index = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    if labels.get(MANAGED) != "true" or not job:
        return False
    if not generation.isdecimal() or not index.isdecimal():
        return False
    owner = controller(pod)
    return owner.get("kind") == "Job" and owner.get("name") == batch_job_name(job, int(generation))


def batch_job_uid(pod: Mapping[str, Any]) -> str:
    """Uid of the Job that the pod names as its controller, or empty; anybody can write it."""
    owner = controller(dict(pod))
    return str(owner.get("uid", "")) if owner.get("kind") == "Job" else ""


def rank_of(pod: Json) -> int:
    """The rank of a pod of ours."""
    return int(pod["metadata"]["annotations"][INDEX])


def generation_of(pod: Json) -> int:
    """The generation whose Job made a pod of ours."""
    return int(pod["metadata"]["labels"][GENERATION])


def is_waiting(pod: Json) -> bool:
    """Whether nothing was bound to the pod yet, and it is not going away."""
    gates = pod["spec"].get("schedulingGates") or []
    gated = any(gate["name"] == GATE for gate in gates)
    return gated and "deletionTimestamp" not in pod["metadata"] and _phase(pod) == "Pending"


def is_leaving(pod: Json) -> bool:
    """Whether somebody asked the pod to leave."""
    return "deletionTimestamp" in pod["metadata"]


def worker(
    pod: Json,
    machines: Mapping[str, NodeState],
    heartbeat: Heartbeat | None,
    now: datetime,
    times: PodTimes = NEVER,
) -> Worker | None:
    """The worker that a pod of ours is.

    None for a pod that is going away before anything was bound to it, which is nobody's place.

    Args:
        pod: As the API server gives it.
        machines: All nodes, by name.
        heartbeat: The newest of the pod's own rank and generation.
        now: By the clock of `times`.
        times: What was seen of the pod before, when.
    """
    if is_waiting(pod):
        return Worker(rank_of(pod), State.WAITING, generation_of(pod))
    seen = _Pod(pod, machines, now, times)
    if seen.was_never_bound:
        return None
    return seen.worker(heartbeat)


def _phase(pod: Json) -> str:
    phase: str = (pod.get("status") or {}).get("phase") or "Pending"
    return phase


@dataclass(frozen=True)
class _Pod:
    """A pod that was bound, at one moment."""

    pod: Json
    machines: Mapping[str, NodeState]
    now: datetime
    times: PodTimes

    def worker(self, heartbeat: Heartbeat | None) -> Worker:
        state, disruption = self.state, self.disruption
        ended = state in (State.SUCCEEDED, State.FAILED)
        failed = state is State.FAILED
        return Worker(
            rank=rank_of(self.pod),
            state=state,
            generation=generation_of(self.pod),
            machine=self.machine,
            ended_at=self.times.ended or self.now if ended else None,
            exit_code=self.exit_code if ended else None,
            last_lines=self.last_lines(heartbeat) if failed else (),
            stopping=self.leaving is not None and not disruption,
            disrupted=bool(disruption) and state is not State.SUCCEEDED,
            heard=heartbeat is not None,
            reason=self.reason,
            progress=heartbeat.progress if heartbeat else None,
            lingering=ended and not self.lost and self.others_run,
            placed=ended or bool(self.machine),
            unschedulable_since=self.unschedulable_since,
            lost_at=None if ended or self.leaving is None else self.overdue_at,
        )

    @property
    def unschedulable_since(self) -> datetime | None:
        if self.leaving is not None or not unschedulable(self.pod):
            return None
        return self.times.unschedulable or self.now

    @property
    def status(self) -> Json:
        found: Json = self.pod.get("status") or {}
        return found

    @property
    def machine(self) -> str:
        name: str = self.pod["spec"].get("nodeName") or ""
        return name

    @property
    def node(self) -> NodeState | None:
        return self.machines.get(self.machine)

    @property
    def was_never_bound(self) -> bool:
        gates = self.pod["spec"].get("schedulingGates") or []
        return any(gate["name"] == GATE for gate in gates)

    @cached_property
    def container(self) -> Json:
        """Status of the trainer's container; empty before the kubelet made one.

        Others may stand before it: admission webhooks add containers of their own.
        """
        found: list[Json] = self.status.get("containerStatuses") or []
        return next((each for each in found if each["name"] == CONTAINER), {})

    @property
    def others_run(self) -> bool:
        """Whether containers beside the trainer's have yet to end."""
        found: list[Json] = self.status.get("containerStatuses") or []
        others = [each.get("state") or {} for each in found if each["name"] != CONTAINER]
        return _phase(self.pod) == "Running" and any("terminated" not in each for each in others)

    @property
    def container_state(self) -> Json:
        state: Json = self.container.get("state") or {}
        return state

    @cached_property
    def leaving(self) -> datetime | None:
        """When the pod has to be gone; None if nobody asked it to leave."""
        if not is_leaving(self.pod):
            return None
        grace = self.pod["metadata"].get("deletionGracePeriodSeconds", _USUAL_GRACE_SECONDS)
        return (self.times.leaving or self.now) + timedelta(seconds=grace)

    @property
    def overdue_at(self) -> datetime | None:
        return self.leaving + timedelta(seconds=OVERDUE_SECONDS) if self.leaving else None

    @cached_property
    def lost(self) -> str:
        """Why a pod that has to leave will never be seen to have left; empty if it may be."""
        if self.overdue_at is None or _phase(self.pod) in ("Succeeded", "Failed"):
            return ""
        if not self.machine:
            return "" if self.now < self.overdue_at else "it was never placed"
        if self.node is None:
            return f"node {self.machine} is gone"
        if self.node.lost or self.now >= self.overdue_at:
            return f"node {self.machine} does not answer"
        return ""

    @cached_property
    def state(self) -> State:
        """By the trainer's own container: the phase of its pod is that of all its containers."""
        ended = self.container_state.get("terminated")
        if ended and not self.lost:
            return State.SUCCEEDED if ended.get("exitCode") == 0 else State.FAILED
        phase = _phase(self.pod)
        if phase == "Succeeded":
            return State.SUCCEEDED
        if phase == "Failed" or self.lost:
            return State.FAILED
        return State.RUNNING if "running" in self.container_state else State.STARTING

    @cached_property
    def disruption(self) -> str:
        """How the pod's end is not its own doing, in words; empty if nothing says so."""
        if self.lost:
            return self.lost
        condition = self.condition("DisruptionTarget")
        if condition.get("status") == "True":
            how = _DISRUPTIONS.get(condition.get("reason") or "", "disrupted on")
            return _joined(f"{how} {self.machine or 'its node'}", condition.get("message"))
        # The kubelet gives a reason of the pod itself only for what it did to the pod.
        if _phase(self.pod) == "Failed" and (reason := self.status.get("reason")):
            return _joined(f"{reason} on {self.machine or 'its node'}", self.status.get("message"))
        ended = self.container_state.get("terminated") or {}
        if ended.get("reason") == "ContainerStatusUnknown":
            return f"node {self.machine} lost the container"
        if _phase(self.pod) == "Failed" and not ended and self.leaving is None:
            return "it ended without a word"
        return ""

    @property
    def reason(self) -> str:
        if self.state is State.SUCCEEDED:
            return ""
        if self.disruption:
            return self.disruption
        if self.state is State.FAILED:
            return why_ended(self.pod, self.container_state.get("terminated") or {})
        if self.machine and (self.node is None or self.node.lost):
            return f"node {self.machine} does not answer"
        if self.state is State.STARTING and self.leaving is None:
            return blocked(self.pod, self.container_state.get("waiting") or {})
        return ""

    @property
    def exit_code(self) -> int | None:
        code: int | None = (self.container_state.get("terminated") or {}).get("exitCode")
        return code

    def condition(self, kind: str) -> Json:
        conditions: list[Json] = self.status.get("conditions") or []
        return next((c for c in conditions if c["type"] == kind), {})

    def last_lines(self, heartbeat: Heartbeat | None) -> tuple[str, ...]:
        """Of the output: as the supervisor told them, or as the kubelet kept them."""
        if heartbeat and heartbeat.last_lines:
            return heartbeat.last_lines
        ended = self.container_state.get("terminated") or {}
        # With these reasons the message is the runtime's, and part of the reason in words.
        if ended.get("reason") not in (None, "Error", "OOMKilled"):
            return ()
        return tuple((ended.get("message") or "").rstrip().splitlines()[-20:])


def _joined(text: str, message: str | None) -> str:
    return f"{text}: {message.strip()}" if message else text
