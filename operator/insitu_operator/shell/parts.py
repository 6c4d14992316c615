"""What does the work of a leading replica, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from insitu.databases import Database, DataSource
from insitu_operator.kubernetes import Api
from insitu_operator.shell.databases.addresses import all_but
from insitu_operator.shell.databases.databases import Databases
from insitu_operator.shell.databases.sources import Sources
from insitu_operator.shell.heartbeats.endpoint import HeartbeatEndpoint
from insitu_operator.shell.heartbeats.heartbeats import Heartbeats
from insitu_operator.shell.heartbeats.tokens import Tokens
from insitu_operator.shell.key import Key
from insitu_operator.shell.listener import PassListener
from insitu_operator.shell.metrics import Metrics
from insitu_operator.shell.queueing.queue import Queue
from insitu_operator.shell.reconciling.controller import Controller
from insitu_operator.shell.settings import Settings
from insitu_operator.shell.watching.resync import Resync
from insitu_operator.shell.watching.sight import Sight


class Parts:
    """Nothing of it does anything before the queue and the databases are entered.

    Args:
        settings: As `settings.read` gives them.
        api: Writes only while this replica leads.
        metrics: Counts what they do.
        instance: Name of this replica.
        leading: Whether it leads.
        open_database: Opens each database whose topology jobs need.
    """

    def __init__(
        self,
        settings: Settings,
        api: Api,
        metrics: Metrics,
        instance: str,
        leading: Callable[[], bool],
        open_database: Callable[[DataSource], Database],
    ) -> None:
        self.queue = Queue(
            self._pass,
            PassListener(metrics),
            workers=settings.workers,
            slow_workers=settings.slow_workers,
        )
        self.sight = Sight(
            self.queue,
            lambda namespace, name: self.databases.service_changed(namespace, name),
            lambda: self.resync.ask(),
        )
        self.resync = Resync(api, self.sight, settings.namespaces, settings.resync_seconds)
        self.databases = Databases(
            Sources(api, self.sight.slices).open,
            self.queue,
            open_database=open_database,
            observe=metrics.topology_poll,
            may_reach=all_but(settings.denied_addresses),
        )
        self.heartbeats = Heartbeats(
            lambda key, urgent: self.queue.add(key, urgent=urgent),
            lambda key, seconds: self.queue.add_after(key, seconds, urgent=False),
        )
        self.endpoint = HeartbeatEndpoint(
            self.heartbeats,
            Tokens(api, settings.audience),
            lambda pod_uid: self._controller.trainer(pod_uid),
            leading,
            metrics.heartbeat,
        )
        self._controller = Controller(
            api,
            self.sight,
            self.databases,
            self.heartbeats,
            settings.trainers,
            instance=instance,
        )

    @property
    def job_states(self) -> Mapping[str, int]:
        """How many jobs are in each state, by the words of their summary."""
        return self._controller.states

    async def _pass(self, key: Key) -> float | None:
        return await self._controller.run(key)
