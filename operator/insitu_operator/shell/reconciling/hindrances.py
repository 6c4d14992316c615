"""Why a Job has no pods: it tells in Events only, as when a quota is used up."""

from __future__ import annotations

import re
from collections.abc import Iterable

from insitu.api import TrainingJob
from insitu_operator.core.objects.names import batch_job_name
from insitu_operator.kubernetes import Api, ApiProblem, Json, paths
from insitu_operator.shell.reconciling.memory import Memory

PATIENCE_SECONDS = 3.0
"""Before it is asked, and between two times."""

_PREFIX = re.compile(r'^Error creating: (pods "[^"]*" (is|are) )?')


async def hindrance(
    api: Api, job: TrainingJob, memory: Memory, *, missing: bool, now: float
) -> str:
    """Why the pods that a job was promised don't come; empty while that may yet be nothing.

    Args:
        api: Asked, once in a while.
        job: Whose pods.
        memory: Of the job.
        missing: Whether there are too few.
        now: Seconds, monotonic.

    Raises:
        ApiProblem: the API server could not answer.
    """
    if not missing:
        memory.waiting_since, memory.hindrance = None, ""
        return ""
    if memory.waiting_since is None:
        memory.waiting_since = now
    places, asked = memory.places, max(memory.waiting_since, memory.asked_why_at or 0.0)
    if places is None or now < asked + PATIENCE_SECONDS:
        return memory.hindrance
    memory.asked_why_at = now
    namespace, name = job.metadata.namespace, batch_job_name(job.metadata.name, places.generation)
    fields = f"regarding.kind=Job,regarding.name={name},reason=FailedCreate"
    try:
        events = await api.list(paths.events(namespace), fields=fields)
        memory.hindrance = newest_failure(name, places.batch_job_uid, events)
    except ApiProblem as problem:
        if not problem.forbidden:
            raise
        memory.hindrance = f"Job '{name}' has too few pods, and {problem}"
    return memory.hindrance


def newest_failure(batch_job: str, uid: str, events: Iterable[Json]) -> str:
    """What the newest Event says, without the name of the pod, which changes with each try."""
    mine = [event for event in events if event.get("regarding", {}).get("uid") == uid]
    if not mine:
        return ""
    note = max(mine, key=_time).get("note") or "no reason was given"
    return f"Job '{batch_job}' can't create its pods: {_PREFIX.sub('', note)}"


def _time(event: Json) -> str:
    series = event.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    )
    # All in one form of RFC 3339, so that the order of texts is that of times.
    return max(str(time) for time in times if time)
