"""Puts together what is known of a job. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from insitu.api import TrainingJob
from insitu.api.status import CheckpointStatus, counted
from insitu.progress import Heartbeat
from insitu.topology import NodeId
from insitu_operator.core.objects.machines import NodeState, requests
from insitu_operator.core.objects.mounts import store_url
from insitu_operator.core.objects.pods import (
    NEVER,
    PodTimes,
    generation_of,
    is_leaving,
    rank_of,
    worker,
)
from insitu_operator.core.objects.room import Amounts
from insitu_operator.core.observed import Machine, State, Worker
from insitu_operator.core.progress import newest
from insitu_operator.core.record import Record
from insitu_operator.core.stores import commit_uri
from insitu_operator.kubernetes import Json
from insitu_operator.shell.watching.endpoints import Service
from insitu_operator.shell.watching.sight import Interest


def workers(
    pods: Iterable[Json],
    nodes: Mapping[str, NodeState],
    heartbeat: Callable[[int, int], Heartbeat | None],
    now: datetime,
    known: Mapping[str, PodTimes],
) -> tuple[tuple[Worker, ...], dict[str, PodTimes]]:
    """Of the job's own pods, and when what was seen of them, by uid.

    Args:
        pods: As the API server gives them.
        nodes: All machines, by name.
        heartbeat: Gives the newest of a generation and rank.
        now: By this operator's clock.
        known: What the last call gave.
    """
    found: list[Worker] = []
    times: dict[str, PodTimes] = {}
    for pod in pods:
        uid = pod["metadata"]["uid"]
        before = known.get(uid, NEVER)
        if is_leaving(pod):
            before = replace(before, leaving=before.leaving or now)
        beat = heartbeat(generation_of(pod), rank_of(pod))
        if (seen := worker(pod, nodes, beat, now, before)) is not None:
            found.append(seen)
            before = replace(before, ended=seen.ended_at, unschedulable=seen.unschedulable_since)
        times[uid] = before
    return tuple(found), times


def newest_commit(
    job: TrainingJob,
    found: Iterable[Worker],
    known: CheckpointStatus | None,
    now: datetime,
) -> CheckpointStatus | None:
    """The newest that any rank has told of, now or before."""
    before, progress, store = known or job.status.checkpoint, newest(found), store_url(job)
    if store is None or progress is None or progress.commit is None:
        return before
    uri = commit_uri(store, job.metadata.name, progress.commit)
    if before and before.uri >= uri:
        return before  # Numbers of commits only grow, and are written with leading zeros.
    step = counted(progress.commit_step or 0)
    return CheckpointStatus(step=step, time=now.replace(microsecond=0), uri=uri)


def missing_places(record: Record | None, found: Iterable[Worker], bound: int) -> bool:
    """Whether ranks of a recorded plan that was never `bound` have no pod yet."""
    if record is None or bound >= record.generation:
        return False
    places = {w.rank for w in found if w.generation == record.generation and not w.ended}
    return len(places) < record.plan.world_size


def interest(job: TrainingJob, found: Iterable[Worker], *, needs_database: bool) -> Interest:
    """What may change a decision: before the ranks are bound any machine, then their own."""
    ranks = tuple(found)
    service = job.spec.data.reach.service
    named = Service(job.metadata.namespace, service.name) if service and needs_database else None
    if not needs_database or _settled(ranks):
        return Interest(frozenset(w.machine for w in ranks if w.machine), named)
    return Interest(None, named)


def needs_room(job: TrainingJob, found: Iterable[Worker]) -> bool:
    """Whether its trainers request something, and have yet to be put on their machines."""
    return bool(requests(job.spec.trainer)) and not _settled(tuple(found))


def room_needed(
    job: TrainingJob, record: Record, machines: Mapping[NodeId, Machine]
) -> dict[str, Amounts]:
    """What all trainers of a plan request together, by the name of the machine."""
    each = requests(job.spec.trainer)
    count = Counter(machines[part.node].name for part in record.plan.ranks)
    return {name: {what: v * n for what, v in each.items()} for name, n in count.items()}


def _settled(ranks: Sequence[Worker]) -> bool:
    """Whether there are some, and all of them are on a machine."""
    return bool(ranks) and all(w.state is not State.WAITING and w.machine for w in ranks)
