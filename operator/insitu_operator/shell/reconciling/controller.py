"""One look at one job: gather, decide, act, write the status, tell what happened.

          watches ─▶ Sight ─┐
databases ─▶ their pollers ─┼─▶ Observed ─▶ reconcile ─▶ actions ─▶ API server
     trainers ─▶ heartbeats ┤                   └──────▶ status  ─▶ API server, last
          pods, by one LIST ┘
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from pydantic import ValidationError

from insitu.api import CONTROLLER, GROUP, KIND, VERSION, ConditionType, Data, Reason, TrainingJob
from insitu.api.complaints import complaints
from insitu.databases import DataSource
from insitu.errors import ConfigurationError, InsituError
from insitu.progress import Heartbeat
from insitu.topology import NodeId
from insitu_operator.core.decision import (
    BindWorkers,
    CreateWorkers,
    Decision,
    DeleteJob,
    StopWorkers,
)
from insitu_operator.core.objects.machines import endpoints, place
from insitu_operator.core.objects.settings import TrainerSettings
from insitu_operator.core.observed import Machine, Observed
from insitu_operator.core.reconcile import reconcile
from insitu_operator.core.refit import refitted
from insitu_operator.kubernetes import Api, ApiProblem, Json
from insitu_operator.shell.aside import aside, size_of
from insitu_operator.shell.databases.polling import Look
from insitu_operator.shell.heartbeats.heartbeats import Trainer
from insitu_operator.shell.key import Key
from insitu_operator.shell.reconciling.actions import LEAVING_SECONDS, Actions, Scene
from insitu_operator.shell.reconciling.gathering import (
    interest,
    missing_places,
    needs_room,
    newest_commit,
    room_needed,
    workers,
)
from insitu_operator.shell.reconciling.herald import Herald
from insitu_operator.shell.reconciling.hindrances import hindrance
from insitu_operator.shell.reconciling.memory import Memory
from insitu_operator.shell.reconciling.problems import (
    InTheWay,
    LookAgain,
    needs_person,
    nowhere_to_create,
)
from insitu_operator.shell.reconciling.recall import pods_of, recall
from insitu_operator.shell.reconciling.reporter import Reporter
from insitu_operator.shell.reconciling.room import Room
from insitu_operator.shell.watching.sight import Sight

LONGEST_WAIT_SECONDS = 30.0
FIRST_LOOK_SECONDS = 5.0
PLACES_SECONDS = 3.0
"""New pods announce themselves; this is for the case that they don't."""

TAKEN_SECONDS = 1.0
"""After which a job says that the machines that it had seen free are promised to another."""

REPAIR_SECONDS = 10.0
"""Nobody tells when a ConfigMap was repaired, or a right was granted."""

_KIND = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND}
"""Which the objects of a list lack."""


class Databases(Protocol):
    """What the databases of jobs have told."""

    def look(self, key: Key, data: Data) -> Look: ...

    def source(self, key: Key) -> DataSource | None: ...

    def release(self, key: Key) -> None: ...


class Heartbeats(Protocol):
    """What trainers have told."""

    def newest(self, job_uid: str, generation: int, rank: int) -> Heartbeat | None: ...

    def log_generation(self, job_uid: str) -> int: ...

    def follow(self, job_uid: str, generation: int) -> None: ...

    def forget(self, job_uid: str) -> None: ...


class Controller:
    """Its `run` is what the queue runs.

    Args:
        api: Asked for pods and records, and told what to do.
        sight: What the watches have shown.
        databases: Read on behalf of the jobs that need them.
        heartbeats: Of the trainers.
        settings: Of the trainers.
        instance: Name of this replica, for Events.
        clock: The time of day.
        monotonic: Seconds.
    """

    def __init__(
        self,
        api: Api,
        sight: Sight,
        databases: Databases,
        heartbeats: Heartbeats,
        settings: TrainerSettings,
        *,
        instance: str = "insitu-operator",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._sight = sight
        self._databases = databases
        self._heartbeats = heartbeats
        self._clock = clock
        self._monotonic = monotonic
        self._room = Room(api, monotonic)
        self._actions = Actions(api, settings, sight.expect, monotonic)
        self._reporter = Reporter(api, sight, Herald(api, instance))
        self._memories: dict[Key, Memory] = {}

    @property
    def states(self) -> Mapping[str, int]:
        """How many jobs are in each state, by the first word of their summary."""
        return Counter(map(self._state, self._sight.jobs))

    def trainer(self, pod_uid: str) -> Trainer | None:
        """What a pod is to a job, if a Job of that job made it: labels alone prove nothing."""
        said = self._sight.trainer(pod_uid)
        memory = self._memories.get(said.key) if said else None
        if said is None or memory is None or memory.uid != said.job_uid:
            return None
        return said if said.batch_job in memory.batch_jobs.get(said.generation, ()) else None

    async def run(self, key: Key) -> float | None:
        """One pass; returns after how many seconds time alone may ask for another.

        Raises:
            ApiProblem: the API server could not answer; nothing was written.
        """
        body = self._sight.job(key)
        if body is None or not _is_for_us(body):
            self._forget(key)
            return None
        memory = self._memory(key, body["metadata"]["uid"])
        try:
            return await self._run(key, body, memory)
        except LookAgain as again:
            return again.seconds
        except ApiProblem as problem:
            if not nowhere_to_create(problem):
                raise
            self._forget(key)
            return None

    async def _run(self, key: Key, body: Json, memory: Memory) -> float | None:
        try:
            job = TrainingJob.model_validate(_KIND | body)
        except ValidationError as problem:
            lines = "\n".join(complaints(TrainingJob, problem))
            text = f"this version of Insitu can't read the job:\n{lines}"
            await self._actions.take_back(key, memory)
            await self._reporter.stall(body, Reason.OBJECT_INVALID, text, self._clock())
            return None
        try:
            await recall(self._api, job, memory)
            pods = await pods_of(self._api, job, memory)
        except ConfigurationError as problem:
            text = str(problem)
            await self._reporter.stall(body, Reason.OBJECT_INVALID, text, self._clock())
            return REPAIR_SECONDS
        except ApiProblem as problem:
            if not problem.forbidden:
                raise
            text = str(problem)
            await self._reporter.stall(body, Reason.KUBERNETES_REFUSED, text, self._clock())
            return REPAIR_SECONDS
        return await self._pass(key, body, job, memory, pods)

    async def _pass(
        self, key: Key, body: Json, job: TrainingJob, memory: Memory, pods: tuple[Json, ...]
    ) -> float | None:
        look = self._look(key, job)
        if look == Look() and _needs_database(job) and job.status.conditions:
            # The operator has just started, or the job was resumed: what was said about the
            # database stays until it has been asked once.
            return FIRST_LOOK_SECONDS
        now = self._clock()
        observed, scene = await self._gather(job, memory, pods, look, now)
        size = max(size_of(observed.reading), len(pods))
        decision = await aside(size, reconcile, observed, now)
        if decision.actions and not job.status.conditions:
            # A watch that is older than the definition of TrainingJob leaves out fields that came
            # with a newer one. The answer to the first status has all of them, so nothing is
            # started before it.
            decision = replace(decision, actions=(), requeue_after=0.0)
        self._keep_room(decision, observed, scene)
        try:
            for action in decision.actions:
                await self._actions.do(scene, action)
        except InsituError as problem:
            if not needs_person(problem) or nowhere_to_create(problem):
                raise
            # What this version can't make of the job, nobody's right or quota will change.
            final = isinstance(problem, ConfigurationError)
            refused = replace(observed, refused=str(problem), refused_for_good=final)
            decision = await aside(size, reconcile, refused, now)
            if isinstance(problem, InTheWay) and problem.passing:
                decision = replace(decision, requeue_after=LEAVING_SECONDS)
        else:
            if any(isinstance(action, DeleteJob) for action in decision.actions):
                return None
        if memory.record:
            self._heartbeats.follow(memory.uid, memory.record.generation)
        watched = interest(job, observed.workers, needs_database=_needs_database(job))
        self._sight.watch_for(key, watched)
        await self._reporter.say(body, job, decision.status, now)
        return self._again(decision, memory)

    async def _gather(
        self,
        job: TrainingJob,
        memory: Memory,
        pods: tuple[Json, ...],
        look: Look,
        now: datetime,
    ) -> tuple[Observed, Scene]:
        # A copy: what the watches show meanwhile is for the next pass.
        uid, record, nodes = memory.uid, memory.record, dict(self._sight.nodes)
        size = size_of(look.reading)
        reading = await aside(size, refitted, look.reading, job.spec.data.kind, record)
        ranks, memory.pod_times = workers(
            pods, nodes, lambda g, r: self._heartbeats.newest(uid, g, r), now, memory.pod_times
        )
        missing = missing_places(record, ranks, job.status.generation)
        memory.commit = newest_commit(job, ranks, memory.commit, now)
        service = job.spec.data.reach.service
        slices = self._sight.slices(job.metadata.namespace, service.name) if service else ()
        machines: Mapping[NodeId, Machine] = {}
        if reading:
            put = partial(
                place, job.spec, reading.topology, endpoints(slices), nodes, record=record
            )
            machines = await aside(size, put)
            if needs_room(job, ranks):
                names = [machine.name for machine in machines.values() if machine.name]
                machines = await aside(size, put, used=await self._room.taken(names, uid))
        observed = Observed(
            job=job,
            record=record,
            reading=reading,
            unread=look.unread,
            workers=ranks,
            machines=machines,
            commit=memory.commit,
            committed_generation=self._heartbeats.log_generation(uid),
            refused=await hindrance(self._api, job, memory, missing=missing, now=self._monotonic()),
        )
        source = self._databases.source(Key(job.metadata.namespace, job.metadata.name))
        return observed, Scene(job, memory, pods, reading, source, machines, nodes)

    def _keep_room(self, decision: Decision, observed: Observed, scene: Scene) -> None:
        """Jobs whose trainers are bound in the same moment are promised no room twice.

        Raises:
            LookAgain: another job was promised what this one had seen free.
        """
        uid, job = scene.memory.uid, scene.job
        kinds = {type(action) for action in decision.actions}
        if StopWorkers in kinds or decision.status.completion_time:
            self._room.release(uid)
        if BindWorkers in kinds and needs_room(job, observed.workers):
            needs = room_needed(job, scene.record, observed.machines)
            has = {name: scene.nodes[name].allocatable for name in needs}
            if not self._room.promise(uid, needs, has):
                raise LookAgain("another job was promised the room", TAKEN_SECONDS)

    def _look(self, key: Key, job: TrainingJob) -> Look:
        if _needs_database(job):
            return self._databases.look(key, job.spec.data)
        self._databases.release(key)
        return Look()

    def _again(self, decision: Decision, memory: Memory) -> float | None:
        after = decision.requeue_after
        if not any(isinstance(a, CreateWorkers) and a.count for a in decision.actions):
            return after
        if after is not None:
            return max(after, PLACES_SECONDS)
        since = memory.waiting_since
        waited = 0.0 if since is None else self._monotonic() - since
        return min(max(PLACES_SECONDS, waited / 2), LONGEST_WAIT_SECONDS)

    def _state(self, key: Key) -> str:
        status: Json = (self._sight.job(key) or {}).get("status") or {}
        text: str = (status.get("summary") or {}).get("status") or "New"
        return text.partition(":")[0]

    def _memory(self, key: Key, uid: str) -> Memory:
        memory = self._memories.get(key)
        if memory is None or memory.uid != uid:
            self._forget(key)
            memory = self._memories[key] = Memory(uid)
        return memory

    def _forget(self, key: Key) -> None:
        self._databases.release(key)
        self._sight.forget(key)
        if memory := self._memories.pop(key, None):
            self._heartbeats.forget(memory.uid)
            self._room.release(memory.uid)


def _is_for_us(body: Json) -> bool:
    """Not on its way out, and no other controller's (MultiKueue's, for one)."""
    manager = (body.get("spec") or {}).get("managedBy")
    return "deletionTimestamp" not in body["metadata"] and manager in (None, CONTROLLER)


def _needs_database(job: TrainingJob) -> bool:
    return not job.spec.suspend and not job.status.is_true(ConditionType.FINISHED)
