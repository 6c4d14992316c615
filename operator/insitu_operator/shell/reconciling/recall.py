"""Reads what a pass needs of the API server: the record, once, and the pods."""

from __future__ import annotations

import asyncio

from insitu.api import TrainingJob
from insitu_operator.core.objects.names import JOB_UID, batch_job_name, plan_map_name
from insitu_operator.core.objects.owners import belongs_to
from insitu_operator.core.objects.plan_maps import read_record
from insitu_operator.core.objects.pods import batch_job_uid, generation_of, is_ours
from insitu_operator.kubernetes import Api, ApiProblem, Json, paths
from insitu_operator.shell.reconciling.memory import Memory

_AHEAD = 1000
"""Generations beyond the known one that a lost record may have had."""


async def recall(api: Api, job: TrainingJob, memory: Memory) -> None:
    """Reads the record, unless it is known; nobody but the operator writes it.

    Raises:
        ConfigurationError: somebody did, and it can't be read.
        ApiProblem: the API server could not answer.
    """
    if memory.looked:
        return
    metadata = job.metadata
    try:
        found = await api.get(paths.config_map(metadata.namespace, plan_map_name(metadata.name)))
    except ApiProblem as problem:
        if not problem.absent:
            raise
        memory.remember(None, None)
        return
    if belongs_to(found, job):
        memory.remember(await asyncio.to_thread(read_record, found), found)
    else:
        memory.remember(None, None)


async def pods_of(api: Api, job: TrainingJob, memory: Memory) -> tuple[Json, ...]:
    """All of the job's own.

    None are asked for while none can be there: a plan is recorded before the first.

    Raises:
        ApiProblem: the API server could not answer.
    """
    if memory.record is None and job.status.generation == 0:
        return ()
    found = await api.list(paths.pods(job.metadata.namespace), labels={JOB_UID: memory.uid})
    pods = [pod for pod in found if is_ours(pod)]
    newest = max(memory.record.generation if memory.record else 0, job.status.generation)
    unknown = {
        generation_of(pod)
        for pod in pods
        if batch_job_uid(pod) not in memory.batch_jobs.get(generation_of(pod), ())
    }
    for generation in sorted(unknown):
        if generation <= newest + _AHEAD:
            await _know(api, job, memory, generation)
    return tuple(pod for pod in pods if _made_by_ours(pod, memory, newest))


async def _know(api: Api, job: TrainingJob, memory: Memory, generation: int) -> None:
    """Asks for the Job of a generation, which another process may have made."""
    name = batch_job_name(job.metadata.name, generation)
    try:
        found = await api.get(paths.batch_job(job.metadata.namespace, name))
    except ApiProblem as problem:
        if not problem.absent:
            raise
        return
    if belongs_to(found, job):
        memory.made(generation, found["metadata"]["uid"])


def _made_by_ours(pod: Json, memory: Memory, newest: int) -> bool:
    """A pod that merely looks like a rank is none.

    One whose Job is gone is believed, as long as it is of no later generation than is known: it may
    be a rank on its way out, which the next generation has to wait for.
    """
    generation = generation_of(pod)
    if known := memory.batch_jobs.get(generation):
        return batch_job_uid(pod) in known
    return generation <= newest
