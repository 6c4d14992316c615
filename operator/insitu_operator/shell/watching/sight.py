"""What the watches have shown: jobs, machines, endpoints, and which pods are whose.

A job is marked when something changed that can change a decision about it (fingerprints.py), and
only then. Deletions that a watch missed are found by `compare` (resync.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from insitu_operator.core.objects.machines import NodeState
from insitu_operator.shell.heartbeats.heartbeats import Trainer
from insitu_operator.shell.key import Key
from insitu_operator.shell.watching import fingerprints
from insitu_operator.shell.watching.endpoints import DELETED, Endpoints, Service, SliceId, slice_id
from insitu_operator.shell.watching.fingerprints import Stage
from insitu_operator.shell.watching.versions import Gone, version

Json = dict[str, Any]

TOGETHER_SECONDS = 2.0
"""Pods that were bound together begin to run one after another, and one look at the last will do;
when it takes longer, the job says meanwhile how many run.
"""


class Marks(Protocol):
    """Where jobs are marked that there is news about."""

    def add(self, key: Key, *, urgent: bool) -> None: ...

    def add_after(self, key: Key, seconds: float, /) -> None:
        """As `add` in so many seconds, unless it is looked at before."""


@dataclass(frozen=True, slots=True)
class Interest:
    """Whose changes a job wants to hear of: machines by name (None: of all), and its Service."""

    machines: frozenset[str] | None = None
    service: Service | None = None


@dataclass(frozen=True, slots=True)
class SeenPod:
    """A pod of ours."""

    trainer: Trainer
    fingerprint: Hashable
    stage: Stage
    version: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Known:
    """What was known at one moment."""

    jobs: set[Key]
    pods: set[str]
    nodes: set[str]
    slices: set[SliceId]


class Sight:
    """For the event loop's thread only.

    `kind` of an event is ADDED, MODIFIED or DELETED, and None for an object of a list.

    Args:
        marks: Where jobs are marked.
        service_changed: Hears of Services, by namespace and name, whose endpoints changed.
        relisted: Hears that a watch began anew, so that deletions may have been missed.
    """

    def __init__(
        self,
        marks: Marks,
        service_changed: Callable[[str, str], None] = lambda _namespace, _name: None,
        relisted: Callable[[], None] = lambda: None,
    ) -> None:
        self._marks = marks
        self._service_changed = service_changed
        self._relisted = relisted
        self._jobs: dict[Key, Json] = {}
        self._pods: dict[str, SeenPod] = {}
        self._pods_of: defaultdict[str, set[str]] = defaultdict(set)
        self._nodes: dict[str, NodeState] = {}
        self._endpoints = Endpoints()
        self._interests: dict[Key, Interest] = {}
        self._expected: dict[str, tuple[int, int]] = {}
        self._node_versions: dict[str, int] = {}
        self._gone = Gone()

    # What watches and lists show.

    def training_job(self, kind: str | None, body: Json) -> None:
        if kind is None:
            self._relisted()
        self._take_job(kind, body)

    def pod(self, kind: str | None, body: Json) -> None:
        if kind is None:
            self._relisted()
        self._take_pod(kind, body)

    def node(self, kind: str | None, body: Json) -> None:
        if kind is None:
            self._relisted()
        self._take_node(kind, body)

    def endpoint_slice(self, kind: str | None, body: Json) -> None:
        if kind is None:
            self._relisted()
        self._take_slice(kind, body)

    def known(self) -> Known:
        """All that is known now: what a list lacks of it that begins later is gone."""
        # No such list shows what was deleted before it.
        self._gone.forget()
        slices = set(self._endpoints.known)
        return Known(set(self._jobs), set(self._pods), set(self._nodes), slices)

    def compare(
        self,
        known: Known,
        *,
        jobs: Sequence[Json],
        pods: Sequence[Json],
        nodes: Sequence[Json],
        slices: Sequence[Json],
    ) -> None:
        """Takes in whole lists, and takes leave of what they lack.

        Machines and endpoints come first, because jobs are judged by them.
        """
        for name in known.nodes - {node["metadata"]["name"] for node in nodes}:
            self._lose_node(name)
        for node in nodes:
            self._take_node(None, node)
        for gone in known.slices - {slice_id(piece) for piece in slices}:
            self._endpoints_changed(self._endpoints.lose(gone))
        for piece in slices:
            self._take_slice(None, piece)
        for key in known.jobs - {_key(job) for job in jobs}:
            self._lose_job(key)
        for job in jobs:
            self._take_job(None, job)
        for uid in known.pods - {pod["metadata"]["uid"] for pod in pods}:
            self._lose_pod(uid)
        for pod in pods:
            self._take_pod(None, pod)

    # What a pass asks for, and tells.

    def job(self, key: Key) -> Json | None:
        """As it was last seen or written."""
        return self._jobs.get(key)

    @property
    def jobs(self) -> Collection[Key]:
        """All that there are."""
        return self._jobs.keys()

    def trainer(self, pod_uid: str) -> Trainer | None:
        """What a pod that exists is to a job that exists."""
        seen = self._pods.get(pod_uid)
        return seen.trainer if seen and self._exists(seen.trainer) else None

    @property
    def nodes(self) -> Mapping[str, NodeState]:
        """By name."""
        return self._nodes

    def slices(self, namespace: str, service: str) -> tuple[Json, ...]:
        """The EndpointSlices of a Service."""
        return self._endpoints.of((namespace, service))

    def read(self, body: Json) -> None:
        """The answer to a request of ours: the job as it is now."""
        if body not in self._gone:
            self._jobs[_key(body)] = _kept(body)

    def watch_for(self, key: Key, interest: Interest) -> None:
        self._interests[key] = interest

    def expect(self, job_uid: str, generation: int, count: int) -> None:
        """New pods mark the job no earlier than when there are `count` of that generation."""
        self._expected[job_uid] = (generation, count)

    def forget(self, key: Key) -> None:
        """Nothing is to be heard of the job; its pods go by themselves."""
        self._interests.pop(key, None)

    # One object at a time.

    def _take_job(self, kind: str | None, body: Json) -> None:
        key, metadata = _key(body), body["metadata"]
        known = self._jobs.get(key)
        if kind == DELETED:
            self._gone.add(body)
            if known and known["metadata"]["uid"] == metadata["uid"]:
                self._lose_job(key)
            return
        if body in self._gone or (known and version(body) < version(known)):
            return
        self._jobs[key] = _kept(body)
        if known is None or fingerprints.training_job(known) != fingerprints.training_job(body):
            # A job that nobody has looked at yet never waits behind those that are known.
            self._marks.add(key, urgent=kind is not None or not body.get("status"))

    def _lose_job(self, key: Key) -> None:
        if lost := self._jobs.pop(key, None):
            self._expected.pop(lost["metadata"]["uid"], None)
            self._marks.add(key, urgent=True)

    def _take_pod(self, kind: str | None, body: Json) -> None:
        trainer, uid = Trainer.of(body), body["metadata"]["uid"]
        if kind == DELETED:
            self._gone.add(body)
            self._lose_pod(uid)
            return
        before = self._pods.get(uid)
        if trainer is None or body in self._gone or (before and version(body) < before.version):
            return
        found, stage = hash(fingerprints.pod(body)), fingerprints.stage(body)
        seen = self._pods[uid] = SeenPod(trainer, found, stage, version(body))
        if seen == before:
            return
        self._pods_of[trainer.job_uid].add(uid)
        if before is None and self._more_to_come(trainer.job_uid):
            return
        began = before and (before.stage, seen.stage) == (Stage.COMING, Stage.RUNNING)
        if began and self._exists(trainer) and self._others_come(trainer):
            self._marks.add_after(trainer.key, TOGETHER_SECONDS)
        else:
            self._mark(trainer, urgent=kind is not None)

    def _lose_pod(self, uid: str) -> None:
        if seen := self._pods.pop(uid, None):
            job_uid = seen.trainer.job_uid
            self._pods_of[job_uid].discard(uid)
            if not self._pods_of[job_uid]:
                del self._pods_of[job_uid]
            self._mark(seen.trainer, urgent=True)

    def _take_node(self, kind: str | None, body: Json) -> None:
        state = NodeState.from_object(body)
        if kind == DELETED:
            self._gone.add(body)
            self._lose_node(state.name)
            return
        if body in self._gone or version(body) < self._node_versions.get(state.name, 0):
            return
        self._node_versions[state.name] = version(body)
        if self._nodes.get(state.name) != state:
            self._nodes[state.name] = state
            self._node_changed(state.name)

    def _lose_node(self, name: str) -> None:
        if self._nodes.pop(name, None):
            del self._node_versions[name]
            self._node_changed(name)

    def _node_changed(self, name: str) -> None:
        for key, interest in self._interests.items():
            if interest.machines is None or name in interest.machines:
                self._marks.add(key, urgent=False)

    def _take_slice(self, kind: str | None, body: Json) -> None:
        if kind == DELETED:
            self._gone.add(body)
        if kind == DELETED or body not in self._gone:
            self._endpoints_changed(self._endpoints.take(kind, body))

    def _endpoints_changed(self, service: Service | None) -> None:
        if service is None:
            return
        self._service_changed(*service)
        for key, interest in self._interests.items():
            if interest.service == service:
                self._marks.add(key, urgent=True)

    # Marks.

    def _mark(self, trainer: Trainer, *, urgent: bool) -> None:
        if self._exists(trainer):
            self._marks.add(trainer.key, urgent=urgent)

    def _exists(self, trainer: Trainer) -> bool:
        job = self._jobs.get(trainer.key)
        return job is not None and job["metadata"]["uid"] == trainer.job_uid

    def _others_come(self, trainer: Trainer) -> bool:
        others = (self._pods[uid] for uid in self._pods_of[trainer.job_uid])
        return any(
            other.stage is Stage.COMING and other.trainer.generation == trainer.generation
            for other in others
        )

    def _more_to_come(self, job_uid: str) -> bool:
        expected = self._expected.get(job_uid)
        if expected is None:
            return False
        generation, count = expected
        pods = (self._pods[uid].trainer for uid in self._pods_of[job_uid])
        there = sum(trainer.generation == generation for trainer in pods)
        if there < count:
            return True
        del self._expected[job_uid]
        return False


def _key(body: Json) -> Key:
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])


def _kept(body: Json) -> Json:
    """All but who wrote which field, which is longer than the rest."""
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return {**body, "metadata": metadata}
