"""One supervised trainer process, its log, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_TAIL_BYTES = 16 << 10
_TAIL_LINES = 20
_LAST_RESORT_SECONDS = 3.0


class TrainerProcess:
    """Starts at once. Must be made by the main thread: the kernel ties the child to the thread.

    Raises:
        OSError: the log can't be written, or the machine can't start a process.
    """

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        self.log = log
        self.stopping = False
        self._kill_at: float | None = None
        self._killed = False
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # The user's files must not shadow the supervisor's modules.
                    "-m",
                    "insitu_operator.local.tether",
                    str(os.getpid()),
                    "--",
                    *command,
                ],
                env=dict(environ),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C at the terminal is for `insitu run` alone.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; 128 + n when signal n ended it. Kills it once its grace is over."""
        code = self._process.poll()
        if code is None:
            self._enforce()
            return None
        return code if code >= 0 else 128 - code

    def stop(self, grace_seconds: float) -> None:
        """Asks the command to commit and leave."""
        self.stopping = True
        self._kill_at = time.monotonic() + grace_seconds
        self._signal(signal.SIGTERM)

    def hurry(self) -> None:
        """Asks the supervisor; the second time it kills the command with its process group."""
        self.stopping = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Returns when the supervisor and its command are gone; give `hurry` a moment before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_RESORT_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def last_lines(self) -> tuple[str, ...]:
        """The end of the log."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL_BYTES))
            text = log.read().decode("utf-8", errors="replace")
        return tuple(text.splitlines()[-_TAIL_LINES:])

    def _enforce(self) -> None:
        if self._kill_at is None:
            return
        over = time.monotonic() - self._kill_at
        if over >= _LAST_RESORT_SECONDS:
            self._signal(signal.SIGKILL)
        elif over >= 0 and not self._killed:
            self._killed = True
            self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
