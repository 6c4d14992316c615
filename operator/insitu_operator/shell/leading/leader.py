"""One of several replicas leads: whoever holds the Lease.

The client library's elector can't create a Lease, ends at the first refused connection, and goes on
renewing after what it leads has ended; this one does neither.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from insitu.errors import InsituError
from insitu_operator.kubernetes import Api, ApiProblem, paths
from insitu_operator.shell.leading.lease import Seen, Times, new_lease

_log = logging.getLogger(__name__)


class LeaseLost(InsituError):
    """This process must end: another one may lead by now, or soon."""


class Elector:
    """`await lead()`, then let `hold()` run beside the work, then `await release()`.

    Args:
        api: Not fenced by this elector.
        namespace: Of the Lease.
        name: Of the Lease.
        identity: Of this process; one that is started again in the same place may have it again.
        times: How long everything takes.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        times: Times,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api.within(times.deadline / 2)
        self._namespace, self._name = namespace, name
        self._identity = identity
        self._times = times
        self._clock = clock
        self._seen: Seen | None = None
        self._renewed: float | None = None

    @property
    def leads(self) -> bool:
        """Whether the last good renewal still holds: the fence in front of every write."""
        return self._renewed is not None and self._clock() - self._renewed < self._times.lease

    @property
    def leader(self) -> str | None:
        """Who holds the Lease as far as is known; None before the first look."""
        return None if self._seen is None else self._seen.holder

    async def lead(self) -> None:
        """Returns when this process leads; waits through all troubles of the API server."""
        told = None
        while True:
            try:
                if await self._take():
                    return
            except ApiProblem as problem:
                _log.warning("can't take part in the election: %s", problem)
            if self.leader not in (told, None):
                told = self.leader
                _log.info("waiting: %s leads", told)
            await asyncio.sleep(self._times.retry)

    async def hold(self) -> None:
        """Renews until that fails for too long; never returns.

        Raises:
            LeaseLost: the deadline has passed, or somebody else holds the Lease.
        """
        assert self._renewed is not None
        while True:
            await asyncio.sleep(self._times.retry)
            until = self._renewed + self._times.deadline
            try:
                async with asyncio.timeout(until - self._clock()):
                    await self._renew_until_done()
            except TimeoutError:
                late = f"no renewal for {self._times.deadline:g} s"
                raise LeaseLost(f"{late}: the API server is away, or this process was") from None

    async def release(self) -> None:
        """Lets the next one lead at once, if that can be said now."""
        if not self.leads or self._seen is None or self.leader != self._identity:
            return
        self._renewed = None
        try:
            await self._api.replace(self._path, self._seen.released(datetime.now(UTC)))
        except ApiProblem as problem:
            _log.warning("the lease could not be released, and runs out: %s", problem)

    @property
    def _path(self) -> str:
        return paths.lease(self._namespace, self._name)

    async def _renew_until_done(self) -> None:
        while True:
            try:
                if await self._take():
                    return
            except ApiProblem as problem:
                _log.warning("the lease was not renewed: %s", problem)
            if self.leader not in (None, "", self._identity):
                raise LeaseLost(f"{self.leader} holds the lease")
            await asyncio.sleep(self._times.retry)

    async def _take(self) -> bool:
        """Whether this process holds the Lease now."""
        if self._renewed is None or self._seen is None:
            await self._look()
        if self._seen and not self._seen.may_be_taken(self._identity, self._clock()):
            return False
        return await self._write()

    async def _look(self) -> None:
        try:
            found = await self._api.get(self._path)
        except ApiProblem as problem:
            if not problem.absent:
                raise
            self._seen = None
            return
        now = self._clock()
        self._seen = self._seen.again(found, now) if self._seen else Seen(found, now)

    async def _write(self) -> bool:
        # From before the request: whoever counts from after it will not be early.
        began = self._clock()
        now = datetime.now(UTC)
        try:
            if self._seen is None:
                lease = new_lease(self._name, self._identity, self._times.lease, now)
                written = await self._api.create(paths.leases(self._namespace), lease)
            else:
                lease = self._seen.taken(self._identity, self._times.lease, now)
                written = await self._api.replace(self._path, lease)
        except ApiProblem as problem:
            if not (problem.absent or problem.conflict or problem.exists):
                raise
            # Another process was quicker, or a write of ours did arrive though no answer came.
            await self._look()
            return False
        self._seen = Seen(written, began)
        self._renewed = began
        return True
