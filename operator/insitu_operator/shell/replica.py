"""One replica's life: listen, wait to lead, lead, and end in an order that leaves nothing behind.

listen ─▶ elected ─▶ first lists ─▶ queue ─▶ watches      each ends before what is on its left
"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import Any, Protocol

from insitu_operator.kubernetes import Api, ApiProblem
from insitu_operator.shell.leading.label import mark
from insitu_operator.shell.leading.leader import Elector, LeaseLost
from insitu_operator.shell.metrics import Metrics
from insitu_operator.shell.parts import Parts
from insitu_operator.shell.probes import routes, serve
from insitu_operator.shell.settings import Settings
from insitu_operator.shell.tasks import Tasks, first
from insitu_operator.shell.watching.pulse import Pulse
from insitu_operator.shell.watching.watches import WatchesEnded, watch, watched_paths

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


class Exit(enum.IntEnum):
    """Why the operator ended, as its exit code. All but the first want a new start."""

    STOPPED = 0
    LEASE_LOST = 3
    WATCHES_ENDED = 4


class Host(Protocol):
    """The process that a replica runs in."""

    def listening(self, probes: int, heartbeats: int, /) -> None:
        """At these ports."""

    def signals_taken(self) -> None:
        """SIGTERM and SIGINT lead to kopf now, instead of to whatever was there."""

    def ending(self, code: Exit, /) -> None:
        """It is about to return this."""


class Replica:
    """Args:
    settings: As `settings.read` gives them.
    api: Not fenced.
    metrics: Shown by the probes.
    host: Hears how far it is.
    elector: Says whether this one leads.
    parts: Do the work; they write only while it leads.
    """

    def __init__(
        self,
        settings: Settings,
        api: Api,
        metrics: Metrics,
        host: Host,
        elector: Elector,
        parts: Parts,
    ) -> None:
        self._settings = settings
        self._api = api
        self._metrics = metrics
        self._host = host
        self._elector = elector
        self._parts = parts
        self._pulse: Pulse | None = None

    async def live(self, stop: asyncio.Event) -> Exit:
        """Until `stop` is set, or this replica can't go on.

        Raises:
            ConfigurationError: an address can't be listened on.
        """
        settings, parts = self._settings, self._parts
        own = routes([self._stuck, self._deaf], [self._unsettled], self._numbers)
        async with (
            serve(own, settings.listen) as probes,
            serve(parts.endpoint.routes(), settings.heartbeat_listen) as heartbeats,
            Tasks() as tasks,
        ):
            self._host.listening(probes, heartbeats)
            stopped = tasks.start(stop.wait(), "stop")
            elected = tasks.start(self._campaign(), "election")
            try:
                if await first(stopped, elected) is stopped:
                    return self._end(Exit.STOPPED)
                elected.result()
                return await self._lead(stopped)
            finally:
                await self._resign()

    async def _campaign(self) -> None:
        await self._mark(leads=False)
        await self._elector.lead()
        _log.info("this replica leads now")

    async def _lead(self, stopped: asyncio.Task[Any]) -> Exit:
        # kopf, the last one, cancels tasks that are younger than itself.
        parts, settings = self._parts, self._settings
        async with Tasks() as tasks, parts.databases:
            lost = tasks.start(self._elector.hold(), "lease")
            read = tasks.start(parts.databases.hold(), "databases")
            looked = tasks.start(self._look(), "first lists")
            if (ended := await first(stopped, lost, looked)) is not looked:
                return self._end(self._reason(ended))
            looked.result()
            self._pulse = Pulse(watched_paths(settings.namespaces))
            async with parts.queue, Tasks() as workers:
                compared = workers.start(parts.resync.run(), "resync")
                workers.start(self._mark(leads=True), "leader label")
                started = asyncio.Event()
                workers.start(self._take_signals_back(started), "signals")
                await asyncio.sleep(0)
                watched = workers.start(
                    watch(parts.sight, settings.namespaces, self._pulse, self._metrics, started),
                    "watches",
                )
                died = workers.start(workers.deaths.hold(), "deaths")
                worked = workers.start(parts.queue.hold(), "queue")
                ended = await first(stopped, lost, watched, compared, read, worked, died)
                return self._end(self._reason(ended))

    async def _look(self) -> None:
        """Nothing is decided before everything was read once."""
        while True:
            try:
                return await self._parts.resync.once()
            except ApiProblem as problem:
                missing = problem.absent and problem.resource == "trainingjobs"
                hint = "install Insitu's CustomResourceDefinitions first: " if missing else ""
                _log.warning("can't begin: %s%s", hint, problem)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _take_signals_back(self, started: asyncio.Event) -> None:
        await started.wait()
        self._host.signals_taken()

    async def _mark(self, *, leads: bool) -> None:
        """Sets or clears the label of this pod, for the Service that trainers post to."""
        settings = self._settings
        while settings.pod_name:
            try:
                await mark(self._api, settings.pod_namespace, settings.pod_name, leads=leads)
            except ApiProblem as problem:
                _log.warning("trainers may not find the leader: %s", problem)
                if not problem.transient:
                    return
            else:
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def _resign(self) -> None:
        """Lets the next one lead at once, if the API server can be told so right now."""
        if not self._elector.leads:
            return
        try:
            async with asyncio.timeout(_RETRY_SECONDS):
                await self._mark(leads=False)
        except TimeoutError:
            _log.warning("this pod keeps the leader's label")
        await self._elector.release()

    def _reason(self, ended: asyncio.Task[Any]) -> Exit:
        error = ended.exception()
        if isinstance(error, LeaseLost):
            _log.error("this replica leads no more: %s", error)
            return Exit.LEASE_LOST
        if isinstance(error, WatchesEnded):
            _log.error("this replica is deaf: %s", error)
            return Exit.WATCHES_ENDED
        if error is not None:
            _log.error("this replica can't go on: its task '%s' died", ended.get_name())
            raise error
        # Watches end without an error when a signal came before it could be taken back.
        return Exit.STOPPED

    def _end(self, code: Exit) -> Exit:
        _log.info("ending: %s", code.name.lower().replace("_", " "))
        self._host.ending(code)
        return code

    def _stuck(self) -> str | None:
        queue, most = self._parts.queue, self._settings.stuck_seconds
        if queue.oldest_seconds > most:
            return f"a job waits for its turn since {queue.oldest_seconds:.0f} s"
        if queue.longest_pass_seconds > most:
            return f"a pass takes since {queue.longest_pass_seconds:.0f} s"
        return None

    def _deaf(self) -> str | None:
        return self._pulse.problem() if self._pulse else None

    def _unsettled(self) -> str | None:
        known = self._elector.leader is not None
        return None if known else "the API server has not said yet who leads"

    def _numbers(self) -> bytes:
        self._metrics.leading(self._elector.leads)
        self._metrics.jobs(self._parts.job_states)
        return self._metrics.render(self._parts.queue.depth)
