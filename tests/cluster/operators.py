"""The operator as tests run it: as a process, and inside of this one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insitu.databases import Database, DataSource
from insitu_operator.shell.main import operate
from insitu_operator.shell.replica import Exit
from insitu_operator.shell.settings import Address, Settings
from tests.cluster.manifests import Space

LEASE = "insitu-operator"
_NOWHERE = "127.0.0.1:0"
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Operator:
    """A process that serves one namespace; its log is JSON lines."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        whole = [
            line for line in self.log.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]
        return [json.loads(line) for line in whole]

    def says(self, words: str) -> bool:
        return any(words in line["message"] for line in self.lines())

    def until(self, words: str) -> None:
        """Returns when it has said so.

        Raises:
            TimeoutError: it did not; the message has what it said instead.
        """
        until(lambda: self.says(words), lambda: f"never said {words!r}:\n{self.log.read_text()}")

    def until_it_leads(self) -> None:
        self.until("leads now")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        return self.process.wait(_PATIENCE_SECONDS)


@contextmanager
def running(
    space: Space,
    log: Path,
    variables: Mapping[str, str] | None = None,
    program: str = "insitu_operator.shell",
) -> Iterator[Operator]:
    """A replica that serves the namespace and has its Lease there. It is gone when the block ends.

    Args:
        space: The namespace.
        log: A new file.
        variables: More of its environment.
        program: The module that is run.
    """
    environment = os.environ | {
        "KUBECONFIG": str(space.cluster.kubeconfig),
        "INSITU_NAMESPACES": space.name,
        "INSITU_LEASE_NAMESPACE": space.name,
        "INSITU_LISTEN": _NOWHERE,
        "INSITU_HEARTBEAT_LISTEN": _NOWHERE,
    }
    command = [sys.executable, "-m", program]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env=environment | dict(variables or {}), stderr=stderr)
    try:
        yield Operator(process, log)
    finally:
        process.kill()
        process.wait()


@dataclass
class Inside:
    """An operator in the running event loop. The ports are known once it listens."""

    probes: int = 0
    heartbeats: int = 0
    ended: Exit | None = None

    def listening(self, probes: int, heartbeats: int) -> None:
        self.probes, self.heartbeats = probes, heartbeats

    def signals_taken(self) -> None: ...

    def ending(self, code: Exit) -> None:
        self.ended = code


@asynccontextmanager
async def inside(
    space: Space, open_database: Callable[[DataSource], Database], **settings: Any
) -> AsyncIterator[Inside]:
    """An operator in the running event loop, which opens databases as it is told.

    `KUBECONFIG` must be set. `settings` are fields of `Settings`.
    """
    anywhere = Address(host="127.0.0.1", port=0)
    found = Settings(
        namespaces=(space.name,),
        lease_namespace=space.name,
        listen=anywhere,
        heartbeat_listen=anywhere,
    ).model_copy(update=settings)
    host, stop = Inside(), asyncio.Event()
    task = asyncio.create_task(operate(found, stop, host, open_database))
    try:
        yield host
    finally:
        stop.set()
        await task


def until(true: Callable[[], bool], complaint: Callable[[], object]) -> None:
    """Returns when it is true.

    Raises:
        TimeoutError: it did not become so in half a minute.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint())
        time.sleep(0.05)
