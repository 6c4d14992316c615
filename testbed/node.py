"""One server node: a process that can be killed and started again under the same name."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from testbed.processes import end, last_lines

_GRACE_SECONDS = 15.0


class BootFailed(RuntimeError):
    """A server did not come up; the message ends with the last lines of its log."""


@dataclass(slots=True)
class Node:
    """`id`, `host` and `port` stay the same over every restart."""

    id: str
    host: str
    port: int
    folder: Path
    _spawn: Callable[[], subprocess.Popen[bytes]] = field(repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.folder / "node.log"

    @property
    def started(self) -> bool:
        """Whether it should be running: it was started, and neither stopped nor killed since."""
        return self._process is not None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the Java process.

        Raises:
            ProcessLookupError: the node is not running.
        """
        if self._process is None or self._process.poll() is not None:
            raise ProcessLookupError(f"{self.id} is not running")
        return self._process.pid

    def start(self) -> None:
        """Boots the node and returns at once; `Cluster.wait_ready` waits for it."""
        if not self.running:
            self._process = self._spawn()

    def kill(self) -> None:
        """SIGKILL: the node is gone when this returns, and nothing was said to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Leaves the cluster in good order."""
        stop([self])

    def check(self) -> None:
        """Raises `BootFailed` when the node was neither stopped nor killed, and yet has ended."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise BootFailed(
                f"{self.id} ended with code {code}. Its log ends with:\n{last_lines(self.log)}"
            )


def stop(nodes: list[Node]) -> None:
    """Stops all of them side by side."""
    end([psutil.Process(node.pid) for node in nodes if node.running], _GRACE_SECONDS)
    for node in nodes:
        if node._process is not None:
            node._process.wait()
            node._process = None
