"""The operator as a process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from insitu.databases import Database, DataSource
from insitu.databases import connect as open_any
from insitu.errors import ConfigurationError, ExitCode
from insitu_operator.kubernetes import connect
from insitu_operator.shell import logs, settings
from insitu_operator.shell.leading.leader import Elector
from insitu_operator.shell.leading.lease import Times
from insitu_operator.shell.metrics import Metrics
from insitu_operator.shell.parts import Parts
from insitu_operator.shell.replica import Exit, Host, Replica
from insitu_operator.shell.settings import Settings

_log = logging.getLogger(__name__)

_NEW_OBJECTS = 10_000
"""That come between two looks for garbage; at 700, the default, these took a third of the time."""


async def operate(
    settings: Settings,
    stop: asyncio.Event,
    host: Host,
    open_database: Callable[[DataSource], Database] = open_any,
) -> Exit:
    """Runs a replica until `stop` is set, or it can't go on.

    Args:
        settings: As `settings.read` gives them.
        stop: Set it to end in about a second.
        host: Hears how far it is.
        open_database: Opens each database whose topology jobs need.

    Raises:
        ConfigurationError: there is no API server to be found, or an address is taken.
    """
    metrics = Metrics()
    async with connect(metrics.request) as api:
        identity = settings.identity
        elector = Elector(api, settings.home, settings.lease_name, identity, settings.times)
        writer = api.fenced(lambda: elector.leads)
        parts = Parts(settings, writer, metrics, identity, lambda: elector.leads, open_database)
        return await Replica(settings, api, metrics, host, elector, parts).live(stop)


class Process:
    """Ends what it hosts on SIGTERM and SIGINT, and itself when that takes too long.

    Args:
        times: What is left of a lease when its deadline has passed is enough.
    """

    def __init__(self, times: Times) -> None:
        self._longest_end = (times.lease - times.deadline) * 2 / 3
        self.stop = asyncio.Event()
        self.signals_taken()

    def listening(self, probes: int, heartbeats: int) -> None:
        _log.info("probes and metrics on port %d, heartbeats on port %d", probes, heartbeats)

    def signals_taken(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)

    def ending(self, code: Exit) -> None:
        late = threading.Timer(self._longest_end, self._give_up, (code,))
        late.daemon = True
        late.start()

    def _give_up(self, code: Exit) -> None:
        _log.error("ending by force: it took more than %.1f s", self._longest_end)
        os._exit(code)


def main(open_database: Callable[[DataSource], Database] = open_any) -> None:
    """Runs a replica as the environment says; its exit code is an `Exit`, or that of a bad
    configuration.

    Args:
        open_database: Opens each database whose topology jobs need.
    """
    try:
        found = settings.read()
        logs.configure(found.log_level)
        _collect_less()
        code = asyncio.run(_run(found, open_database))
    except ConfigurationError as wrong:
        sys.stderr.write(f"insitu-operator: {wrong}\n")
        sys.exit(ExitCode.CONFIGURATION)
    logging.shutdown()
    # Threads of database drivers may hang, and nothing of theirs is worth waiting for.
    os._exit(code)


def _collect_less() -> None:
    """What is loaded by now stays, and is not looked through for garbage again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


async def _run(settings: Settings, open_database: Callable[[DataSource], Database]) -> Exit:
    host = Process(settings.times)
    return await operate(settings, host.stop, host, open_database)
