"""How much of the machines other pods take up; asked only for trainers that request something."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from insitu_operator.core.objects.room import Amounts, Tenant, taken, tenants
from insitu_operator.kubernetes import Api, ApiProblem, paths

_NONE = Decimal()

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 3.0
"""Jobs that come together, and the passes of one, share an answer."""

FORBIDDEN_SECONDS = 600.0
"""The right to list all pods may be withheld; a full machine then shows when a pod is bound to
it."""


PROMISE_SECONDS = 30.0
"""Until the scheduler has put a job's trainers on their machines, or has said that it can't."""


class Room:
    """What it has heard of each machine. For the event loop's thread only.

    Args:
        api: Asked for the pods of a machine.
        monotonic: Seconds.
    """

    def __init__(self, api: Api, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._monotonic = monotonic
        self._heard: dict[str, tuple[float, tuple[Tenant, ...]]] = {}
        self._promised: dict[str, tuple[float, Mapping[str, Amounts]]] = {}
        self._not_before = float("-inf")

    async def taken(self, machines: Iterable[str], job_uid: str) -> Mapping[str, Amounts]:
        """By all pods but those of the job; of no machine where it may not ask.

        Raises:
            ApiProblem: the API server could not answer.
        """
        now = self._monotonic()
        self._heard = {m: heard for m, heard in self._heard.items() if heard[0] > now}
        names = sorted(set(machines))
        if now >= self._not_before:
            await asyncio.gather(*(self._ask(m) for m in names if m not in self._heard))
        return self._taken(names, job_uid)

    def promise(
        self, job_uid: str, needs: Mapping[str, Amounts], has: Mapping[str, Amounts]
    ) -> bool:
        """Keeps room for all trainers of a job, or for none; returns whether there is enough.

        Between two jobs of this operator nothing can come: it asks nobody and does not wait.

        Args:
            job_uid: Of the job.
            needs: What its trainers request of each machine.
            has: What each machine can give.
        """
        used = self._taken(needs, job_uid)
        for machine, need in needs.items():
            there, gone = has.get(machine, {}), used.get(machine, {})
            if any(v and v > there.get(n, _NONE) - gone.get(n, _NONE) for n, v in need.items()):
                return False
        self._promised[job_uid] = self._monotonic() + PROMISE_SECONDS, needs
        return True

    def release(self, job_uid: str) -> None:
        """Its trainers are on their way out, or were never bound."""
        self._promised.pop(job_uid, None)

    def _taken(self, machines: Iterable[str], job_uid: str) -> dict[str, Amounts]:
        now = self._monotonic()
        self._promised = {uid: kept for uid, kept in self._promised.items() if kept[0] > now}
        found: dict[str, Amounts] = {}
        for machine in machines:
            kept = self._promised.items()
            promised = {uid: needs[machine] for uid, (_, needs) in kept if machine in needs}
            _, tenants_there = self._heard.get(machine, (0.0, ()))
            if machine in self._heard or promised:
                found[machine] = taken(tenants_there, job_uid, promised)
        return found

    async def _ask(self, machine: str) -> None:
        try:
            pods = await self._api.list(paths.pods(), fields=f"spec.nodeName={machine}")
        except ApiProblem as problem:
            if not problem.forbidden:
                raise
            now = self._monotonic()
            if now >= self._not_before:
                log.info("full machines are noticed late: %s", problem)
            self._not_before = now + FORBIDDEN_SECONDS
        else:
            self._heard[machine] = self._monotonic() + REMEMBERED_SECONDS, tenants(pods)
