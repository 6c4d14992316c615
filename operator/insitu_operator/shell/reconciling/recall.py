"""Reads what a pass needs of the API server: the record, once, and the pods."""

from __future__ import annotations

import asyncio

from insitu.api import TrainingJob
from insitu_operator.core.objects.names import JOB_UID, plan_map_name
from insitu_operator.core.objects.owners import belongs_to
from insitu_operator.core.objects.plan_maps import read_record
from insitu_operator.core.objects.pods import is_ours
from insitu_operator.kubernetes import Api, ApiProblem, Json, paths
from insitu_operator.shell.reconciling.memory import Memory


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
    return tuple(pod for pod in found if is_ours(pod))
