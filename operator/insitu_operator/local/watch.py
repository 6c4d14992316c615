"""Reads the topology again and again, away from the main thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from insitu.api import Reason
from insitu.databases import Database, DataSource, connect
from insitu.errors import InsituError
from insitu.topology import DatabaseNode
from insitu_operator.core.observed import Reading, Unread
from insitu_operator.core.unread import unread

EVERY_SECONDS = 1.0
OVERDUE_SECONDS = 20.0
"""How long one try may take before it counts as failed, whatever the driver still hopes for."""


class TopologyWatch:
    """The newest reading, and the error of the newest try if it failed.

    A try that fails opens the database anew; the columns are checked each time it is opened.
    """

    def __init__(
        self, source: DataSource, open_database: Callable[[DataSource], Database] = connect
    ) -> None:
        self._source = source
        self._open_database = open_database
        self._lock = threading.Lock()
        self._reading: Reading | None = None
        self._unread: Unread | None = None
        self._bug: Exception | None = None
        self._began: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def newest(self) -> tuple[Reading | None, Unread | None]:
        """The newest reading that worked, and why the newest try did not, if it did not.

        Raises:
            Exception: whatever ended the watch by a fault of its own.
        """
        with self._lock:
            if self._bug:
                raise self._bug
            late = self._began is not None and time.monotonic() - self._began > OVERDUE_SECONDS
            if late and self._unread is None:
                return self._reading, Unread(
                    Reason.DATABASE_UNAVAILABLE,
                    f"the database has not answered for {OVERDUE_SECONDS:.0f} s",
                )
            return self._reading, self._unread

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        # A driver that hangs must not hang the end: the thread is a daemon.
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        database: Database | None = None
        nodes: tuple[DatabaseNode, ...] = ()
        while not self._stopped.is_set():
            at = datetime.now(UTC)
            with self._lock:
                self._began = time.monotonic()
            try:
                if database is None:
                    database = self._open_database(self._source.also_at(nodes))
                    database.check()
                topology = database.topology()
                nodes = topology.nodes
            except InsituError as error:
                self._note(None, unread(error))
                if database is not None:
                    database.close()
                database = None
            except Exception as error:  # noqa: BLE001 - raised again in the main thread
                with self._lock:
                    self._bug = error
                return
            else:
                self._note(Reading(topology, at), None)
            self._stopped.wait(EVERY_SECONDS)
        if database is not None:
            database.close()

    def _note(self, reading: Reading | None, problem: Unread | None) -> None:
        with self._lock:
            self._reading = reading or self._reading
            self._unread = problem
            self._began = None
