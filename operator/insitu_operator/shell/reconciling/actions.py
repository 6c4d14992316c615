"""Does on the API server what the core decided. Each action may be repeated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from insitu.api import TrainingJob
from insitu.databases import DataSource
from insitu.topology import NodeId
from insitu_operator.core.decision import (
    Action,
    BindWorkers,
    CreateWorkers,
    DeleteJob,
    DeleteWorkers,
    RecordPlan,
    StopWorkers,
)
from insitu_operator.core.objects.bindings import binding, pod_assignments
from insitu_operator.core.objects.jobs import batch_job
from insitu_operator.core.objects.machines import NodeState
from insitu_operator.core.objects.names import batch_job_name, plan_map_name, service_name
from insitu_operator.core.objects.owners import belongs_to
from insitu_operator.core.objects.plan_maps import plan_map, replaced
from insitu_operator.core.objects.pods import generation_of, is_waiting, rank_of
from insitu_operator.core.objects.services import trainer_service
from insitu_operator.core.objects.settings import TrainerSettings
from insitu_operator.core.observed import Machine, Reading
from insitu_operator.core.record import Record
from insitu_operator.kubernetes import Api, ApiProblem, Json, paths
from insitu_operator.shell.aside import aside, size_of
from insitu_operator.shell.key import Key
from insitu_operator.shell.reconciling.memory import Memory, Places
from insitu_operator.shell.reconciling.problems import InTheWay, LookAgain, outrun

PATCHES_AT_ONCE = 16
"""More make the API server slower, and nothing faster."""

LEAVING_SECONDS = 1.0
"""After which what is about to go is looked for again."""

_BELIEVED_SECONDS = 15.0
"""How long a Job that was created or deleted is taken for so without asking again."""


@dataclass(frozen=True)
class Scene:
    """What a pass has gathered that actions need. `pods` are all of the job's own."""

    job: TrainingJob
    memory: Memory
    pods: tuple[Json, ...]
    reading: Reading | None
    source: DataSource | None
    machines: Mapping[NodeId, Machine]
    nodes: Mapping[str, NodeState]

    @property
    def namespace(self) -> str:
        return self.job.metadata.namespace

    @property
    def record(self) -> Record:
        record = self.memory.record
        assert record is not None, "the core records a plan before it acts on one"
        return record

    @property
    def generations(self) -> set[int]:
        """Of all pods there are."""
        return {generation_of(pod) for pod in self.pods}

    def batch_job(self, generation: int) -> str:
        """Path of a generation's Job."""
        return paths.batch_job(self.namespace, batch_job_name(self.job.metadata.name, generation))


class Actions:
    """Args:
    api: Where it is done.
    settings: Of trainers.
    expect: Hears how many pods of which job's generation are about to come.
    clock: Seconds, monotonic.
    """

    def __init__(
        self,
        api: Api,
        settings: TrainerSettings,
        expect: Callable[[str, int, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._settings = settings
        self._expect = expect
        self._clock = clock
        self._patches = asyncio.Semaphore(PATCHES_AT_ONCE)

    async def do(self, scene: Scene, action: Action) -> None:
        """Raises:
        ApiProblem: the API server refused, or could not answer.
        InsituError: it can't be done as the job or the cluster is.
        LookAgain: the cluster is not as the scene has it.
        """
        match action:
            case RecordPlan(record):
                await self._record(scene, record)
            case CreateWorkers(0):
                await self._no_places(scene)
            case CreateWorkers(count):
                await self._places(scene, count)
            case BindWorkers(generation):
                await self._bind(scene, generation)
            case StopWorkers(generation, grace_seconds):
                await self._stop(scene, generation, grace_seconds)
            case DeleteWorkers(generation):
                await self._clear(scene, generation)
            case DeleteJob():
                await self._delete_job(scene)

    async def take_back(self, key: Key, memory: Memory) -> None:
        """Lets the ranks go that this process has made before the job turned out unreadable.

        What a watch shows may lack a field for which the job is refused. Ranks of an earlier
        process stay: it may have been a version that could read the job.

        Raises:
            ApiProblem: the API server refused, or could not answer.
        """
        if memory.places:
            name = batch_job_name(key.name, memory.places.generation)
            path = paths.batch_job(key.namespace, name)
            await _if_there(self._api.merge(path, {"spec": {"parallelism": 0}}))
            memory.places = None

    async def _record(self, scene: Scene, record: Record) -> None:
        """Two writers can't mix two plans: the one that comes second reads the other's."""
        job, memory, known = scene.job, scene.memory, scene.memory.plan_map
        path = paths.config_map(scene.namespace, plan_map_name(job.metadata.name))
        try:
            if known is None:
                wanted = await aside(size_of(record.plan), plan_map, job, record)
                made = await self._api.create(paths.config_maps(scene.namespace), wanted)
            else:
                wanted = await aside(size_of(record.plan), replaced, known, record)
                made = await self._api.replace(path, wanted)
        except ApiProblem as problem:
            if problem.exists:
                await self._own(scene, "ConfigMap", path)
            elif not (problem.conflict or (known and problem.absent)):
                raise
            memory.doubt()
            raise LookAgain(str(problem)) from problem
        memory.remember(record, made)
        # Somebody may have deleted it since; the ranks of a new generation need it to meet.
        memory.has_service = False

    async def _places(self, scene: Scene, count: int) -> None:
        job, memory, record = scene.job, scene.memory, scene.record
        places, now = memory.places, self._clock()
        if (
            places
            and (places.generation, places.count) == (record.generation, count)
            and now < places.at + _BELIEVED_SECONDS
        ):
            return
        assert scene.source is not None, "a plan comes from a database that was opened"
        wanted = batch_job(job, record, scene.source, self._settings)
        if not memory.has_service:
            await self._create(
                scene,
                "Service",
                paths.services(scene.namespace),
                paths.service(scene.namespace, service_name(job.metadata.name)),
                trainer_service(job),
            )
            memory.has_service = True
        self._expect(job.metadata.uid, record.generation, count)
        path = scene.batch_job(record.generation)
        found = await self._create(scene, "Job", paths.batch_jobs(scene.namespace), path, wanted)
        if "deletionTimestamp" in found["metadata"]:
            raise LookAgain("a Job of this name is about to go", LEAVING_SECONDS)
        if found["spec"].get("parallelism") != count:
            await self._api.merge(path, {"spec": {"parallelism": count}})
        memory.made(record.generation, found["metadata"]["uid"])
        memory.places = Places(record.generation, count, found["metadata"]["uid"], now)

    async def _no_places(self, scene: Scene) -> None:
        scene.memory.places = None
        await self._empty(scene, scene.record.generation)

    async def _bind(self, scene: Scene, generation: int) -> None:
        assert scene.reading is not None
        assert scene.source is not None
        record = scene.record
        told = pod_assignments(scene.job, record, scene.reading.topology, scene.source)
        machine_of = {part.rank: scene.machines[part.node].name for part in record.plan.ranks}
        waiting = [p for p in scene.pods if is_waiting(p) and generation_of(p) == generation]
        hostnames = [scene.nodes[machine_of[rank_of(pod)]].hostname for pod in waiting]
        patches = []
        # All of them before the first is sent: one that can't be made is to start none.
        for pod, hostname in zip(waiting, hostnames, strict=True):
            path = paths.pod(scene.namespace, pod["metadata"]["name"])
            patches.append((path, binding(pod, told[rank_of(pod)], hostname)))
            # Each takes a millisecond or two, and the lease has to be renewed meanwhile.
            await asyncio.sleep(0)
        await self._all(self._api.strategic(path, patch) for path, patch in patches)

    async def _stop(self, scene: Scene, generation: int, grace_seconds: float) -> None:
        living = [
            pod
            for pod in scene.pods
            if generation_of(pod) <= generation
            and not is_waiting(pod)
            and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]
        for stopped in sorted({generation_of(pod) for pod in living}):
            await self._empty(scene, stopped)
        scene.memory.places = None
        hurried = [
            pod["metadata"]["name"]
            for pod in living
            if grace_seconds < pod["spec"].get("terminationGracePeriodSeconds", 30)
        ]
        # Zero would take the pod from the list while its process still runs.
        grace = max(1, int(grace_seconds))
        await self._all(
            self._api.delete(paths.pod(scene.namespace, name), grace_seconds=grace)
            for name in hurried
        )

    async def _clear(self, scene: Scene, generation: int) -> None:
        memory, now = scene.memory, self._clock()
        # The last one that was bound may have no pod left, and need not be the one before.
        known = {*scene.generations, scene.job.status.generation}
        there = {g for g in known if 0 < g <= generation} | {generation}
        for old in sorted(there):
            if now < memory.deleted.get(old, -_BELIEVED_SECONDS) + _BELIEVED_SECONDS:
                continue
            await _if_there(self._api.delete(scene.batch_job(old)))
            memory.deleted[old] = now
        if memory.places and memory.places.generation <= generation:
            memory.places = None

    async def _delete_job(self, scene: Scene) -> None:
        metadata = scene.job.metadata
        try:
            await self._api.delete(
                paths.training_job(metadata.namespace, metadata.name), uid=metadata.uid
            )
        except ApiProblem as problem:
            if problem.conflict:
                raise LookAgain(str(problem), LEAVING_SECONDS) from problem
            if not problem.absent:
                raise

    async def _empty(self, scene: Scene, generation: int) -> None:
        """The Job controller lets all pods of a generation go, and replaces none."""
        path = scene.batch_job(generation)
        await _if_there(self._api.merge(path, {"spec": {"parallelism": 0}}))

    async def _create(
        self, scene: Scene, kind: str, collection: str, path: str, wanted: Json
    ) -> Json:
        """The object, which may have been there before. Raises `InTheWay` if it is not ours."""
        try:
            return await self._api.create(collection, wanted)
        except ApiProblem as problem:
            if not problem.exists:
                raise
        return await self._own(scene, kind, path)

    async def _own(self, scene: Scene, kind: str, path: str) -> Json:
        try:
            found = await self._api.get(path)
        except ApiProblem as problem:
            if problem.absent:
                raise LookAgain(str(problem)) from problem
            raise
        if not belongs_to(found, scene.job):
            raise InTheWay(kind, found, scene.job)
        return found

    async def _all(self, requests: Iterable[Awaitable[object]]) -> None:
        """All of them; then raises what needs a person most."""

        async def one(request: Awaitable[object]) -> None:
            async with self._patches:
                await request

        done = await asyncio.gather(*map(one, requests), return_exceptions=True)
        problems = [problem for problem in done if isinstance(problem, BaseException)]
        for problem in problems:
            if not (isinstance(problem, ApiProblem) and outrun(problem)):
                raise problem
        if problems:
            raise LookAgain(str(problems[0])) from problems[0]


async def _if_there(request: Awaitable[object]) -> None:
    try:
        await request
    except ApiProblem as problem:
        if not problem.absent:
            raise
