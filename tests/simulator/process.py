"""One process of the operator: its real parts, put together as `shell/parts.py` does, on a wire."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import cast

from kubernetes.aio.client import ApiClient

from insitu.api import Framework
from insitu.errors import InsituError
from insitu.progress import Heartbeat, HeartbeatReply
from insitu.topology import Topology
from insitu_operator.core.objects.settings import TrainerSettings
from insitu_operator.kubernetes import Api, ApiProblem
from insitu_operator.shell.heartbeats.heartbeats import Heartbeats
from insitu_operator.shell.key import Key
from insitu_operator.shell.queueing.queue import Queue
from insitu_operator.shell.reconciling.controller import Controller
from insitu_operator.shell.watching.resync import Resync
from insitu_operator.shell.watching.sight import Sight
from tests.simulator.databases import Databases
from tests.simulator.plans import Kind
from tests.simulator.server import Server
from tests.simulator.store import BEGINNING, Json, Store
from tests.simulator.watches import Watches
from tests.simulator.wire import Traffic, Wire

_RETRY_SECONDS = 1.0


class Process:
    """Args:
    store: Of the cluster.
    traffic: Of all processes of the operator.
    read: The topology of a table by its name.
    failed: Hears what passes raised.
    died: Called when a fault has ended it.
    chance: Of the jitter.
    """

    def __init__(
        self,
        store: Store,
        traffic: Traffic,
        read: Callable[[str], Topology],
        failed: Callable[[Exception], None],
        died: Callable[[], None],
        chance: random.Random,
    ) -> None:
        self._died = died
        self._wire = Wire(Server(store), store, traffic, self.kill, self._fail)
        # It does what the operator asks of the client library's class, and opens no socket.
        api = Api(cast(ApiClient, self._wire), lambda *_: None)
        self._queue = Queue(self._pass, _Listener(failed), jitter=chance.random)
        self._sight = Sight(self._queue, relisted=lambda: self._resync.ask())
        self._resync = Resync(api, self._sight)
        self._watches = Watches(store, self._sight)
        self._databases = Databases(read, self._queue, lambda: store.seconds)
        self._heartbeats = Heartbeats(
            lambda key, urgent: self._queue.add(key, urgent=urgent),
            lambda key, seconds: self._queue.add_after(key, seconds, urgent=False),
            clock=lambda: store.seconds,
        )
        self._controller = Controller(
            api,
            self._sight,
            self._databases,
            self._heartbeats,
            TrainerSettings(images={Framework.TORCH: "trainer:1"}),
            clock=lambda: BEGINNING + timedelta(seconds=store.seconds),
            monotonic=lambda: store.seconds,
        )
        self._leads = False
        self._task = asyncio.create_task(self._live(), name="operator")

    async def _live(self) -> None:
        """As a replica that leads: first lists, queue, watches."""
        await self._look()
        async with self._queue, asyncio.TaskGroup() as tasks:
            self._leads = True
            tasks.create_task(self._resync.run())
            tasks.create_task(self._databases.run())
            self._watches.begin()

    async def _look(self) -> None:
        while True:
            try:
                return await self._resync.once()
            except ApiProblem:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _pass(self, key: Key) -> float | None:
        return await self._controller.run(key)

    def heartbeat(self, pod: Json, heartbeat: Heartbeat) -> HeartbeatReply | None:
        """As its endpoint takes it, from a pod that showed its token."""
        trainer = self._controller.trainer(pod["metadata"]["uid"]) if self._leads else None
        return self._heartbeats.take(trainer, heartbeat) if trainer else None

    def kill(self) -> None:
        """SIGKILL."""
        self._end()
        self._died()

    async def stop(self) -> None:
        """At the end of the simulation."""
        self._end()
        await asyncio.wait([self._task])

    def _end(self) -> None:
        self._leads = False
        self._wire.cut()
        self._watches.end()
        self._task.cancel()

    def _fail(self, kind: Kind) -> None:
        self._watches.fail(kind)


class _Listener:
    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed

    def passed(self, _key: Key, _seconds: float) -> None:
        """Nothing to tell."""

    def failed(self, _key: Key, _seconds: float, error: Exception, _retry_seconds: float) -> None:
        if not isinstance(error, InsituError):
            self._failed(error)
