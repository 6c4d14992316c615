"""One server process of the cluster, which can be killed and started again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from testbed.processes import last_lines, spawn

# In the environment of every process of a cluster: the folder of its files.
MARKER = "INSITU_TESTBED_CLUSTER"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StartFailed(RuntimeError):
    """The cluster did not come up; the message has the last lines of the log concerned."""


GARBAGE_PERCENT = 400
"""By which a daemon's heap may grow before garbage is collected: they have more memory than cores,
and at the default of 100 the API server spends a sixth of its time on it.
"""


class Starter:
    """Starts processes of one cluster, and marks them as its own.

    The kernel ends a tied process together with the thread that started it: this one's thread
    lives as long as the cluster, whatever thread asks for a process.

    Args:
        folder: Of the cluster.
        inherit: A file descriptor that every process keeps open.
        tied: The processes end when this one does.
    """

    def __init__(self, folder: Path, inherit: int, *, tied: bool) -> None:
        self._thread = ThreadPoolExecutor(1, "cluster-starter")
        self._folder, self._inherit, self._tied = folder, inherit, tied
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Starts `command`; what it says goes to the end of `log`."""
        process = self._thread.submit(
            spawn,
            command,
            folder=self._folder,
            log=log,
            inherit=[self._inherit],
            tied=self._tied,
            environment={
                MARKER: str(self._folder),
                "PATH": _PATH,
                "HOME": str(self._folder),
                "GOGC": str(GARBAGE_PERCENT),
            },
        ).result()
        self._started.append(process)
        return process

    def reap(self) -> None:
        """Returns when all processes, which somebody else has killed, are gone."""
        for process in self._started:
            process.wait()

    def close(self) -> None:
        self._thread.shutdown()


@dataclass(slots=True)
class Daemon:
    """`command` is what it runs; `enter`, the commands to run it through, such as nsenter."""

    name: str
    command: Sequence[str]
    log: Path
    starter: Starter = field(repr=False)
    enter: Callable[[], Sequence[str]] | None = field(default=None, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> psutil.Process:
        """The daemon itself, not the command that entered its namespaces for it.

        Raises:
            ProcessLookupError: it is not running.
        """
        if self._process is None or self._process.poll() is not None:
            raise ProcessLookupError(f"{self.name} is not running")
        here = psutil.Process(self._process.pid)
        return here if self.enter is None else next(iter(here.children()), here)

    def start(self) -> None:
        """Starts it, unless it runs; returns at once."""
        if not self.running:
            before = self.enter() if self.enter is not None else ()
            self._process = self.starter.start([*before, *self.command], self.log)

    def kill(self) -> None:
        """SIGKILL; it is gone when this returns."""
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            self.process.kill()
        self.reap()

    def reap(self) -> None:
        """Returns when the process, which somebody else has killed, is gone."""
        if self._process is not None:
            self._process.wait()
            self._process = None

    def check(self) -> None:
        """Raises `StartFailed` when it was not killed, and yet has ended."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise StartFailed(
                f"{self.name} ended with code {code}. Its log ends with:\n{last_lines(self.log)}"
            )


def wait(
    condition: Callable[[], str | None], daemons: Sequence[Daemon], seconds: float, every: float
) -> None:
    """Returns when `condition` has no complaint any more.

    Raises:
        StartFailed: one of `daemons` ended, or it took longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    while (complaint := condition()) is not None:
        for daemon in daemons:
            daemon.check()
        if time.monotonic() > deadline:
            raise StartFailed(f"not ready after {seconds:.0f} s: {complaint}")
        time.sleep(every)


def marked(folder: Path) -> list[psutil.Process]:
    """Every process, of whatever origin, that carries the mark of the cluster in `folder`."""
    mark = f"{MARKER}={folder}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if int(entry.name) != os.getpid() and mark in (entry / "environ").read_bytes().split(
                b"\0"
            ):
                found.append(psutil.Process(int(entry.name)))
    return found
