"""How much of the machines other pods take up; asked only for trainers that request something."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from insitu_operator.core.objects.room import Amounts, Tenant, taken, tenants
from insitu_operator.kubernetes import Api, ApiProblem, paths

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 3.0
"""Jobs that come together, and the passes of one, share an answer."""

FORBIDDEN_SECONDS = 600.0
"""The right to list all pods may be withheld; a full machine then shows when a pod is bound to
it."""


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
        return {m: taken(self._heard[m][1], job_uid) for m in names if m in self._heard}

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
