"""`insitu-run -- command ...`: starts the user's command, watches over it, and tells how it is.

The command runs in a process group of its own, which never outlives this process. Its output is
passed on unchanged. SIGTERM and SIGINT both reach it as SIGTERM, which means: commit and leave;
asked a second time, it is killed. As PID 1 of a container it also buries orphans.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO

from insitu.contract import SECRET_VARIABLES, Reporting, plain_secrets
from insitu.errors import ConfigurationError, ExitCode
from insitu.heartbeat import Heart
from insitu.progress import Heartbeat, read_progress

KEPT_MEMORY = {"MIMALLOC_PURGE_DELAY": "-1"}
"""Set for a trainer where nobody has: Arrow keeps what it frees for the next page. To give it back
to the system and have it cleared again is a quarter of the CPU of reading large values.
"""

_LAST_LINES = 20
_LINE_BYTES = 64 << 10
_TOLD_CHARACTERS = 2000  # of a line in a heartbeat
_PR_SET_PDEATHSIG = 1
_TERMINATION_LOG = Path("/dev/termination-log")
"""Where Kubernetes reads why a container ended; it takes the end of the plain output otherwise."""

_TERMINATION_BYTES = 4096
_SHORTEST_SECRET = 4
"""Characters; to leave out shorter ones would leave nothing to read, and they protect nothing."""

_USAGE = "usage: insitu-run -- COMMAND [ARGUMENT ...]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what follows `--` and returns its exit code; 128 + n when signal n ended it."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    if command[:1] == ["--"]:
        command = command[1:]
    if not command or command[0] in ("-h", "--help"):
        sys.stderr.write(f"{_USAGE}\n")
        return ExitCode.DONE if command else ExitCode.CONFIGURATION
    try:
        reporting = Reporting.from_environ(os.environ)
        with tempfile.TemporaryDirectory(prefix="insitu-") as folder:
            if reporting.progress is None:
                reporting = replace(reporting, progress=Path(folder) / "progress.json")
            return supervise(command, os.environ, reporting)
    except ConfigurationError as error:
        sys.stderr.write(f"insitu-run: {error}\n")
        return ExitCode.CONFIGURATION


def supervise(
    command: Sequence[str],
    environ: Mapping[str, str],
    reporting: Reporting,
    termination_log: Path = _TERMINATION_LOG,
) -> int:
    """One run of `command`, to its end; reports to `reporting.heartbeat` if that is set.

    The last lines of a command that failed go to `termination_log`, if there is such a file. Values
    of the variables that `INSITU_SECRET_VARIABLES` names are left out there, and in heartbeats.

    Must be called from the main thread, the only one that may handle signals, and from a process
    without other children: it waits for all of them.

    Raises:
        ConfigurationError: there is no such command, or it may not be started.
    """
    url, token = reporting.heartbeat, reporting.heartbeat_token
    heart = Heart(url, lambda: _heartbeat(reporting), say=_say, token=token) if url else None
    own = reporting.to_environ() | {"PYTHONUNBUFFERED": "1"}
    child = _Child(command, KEPT_MEMORY | plain_secrets(environ) | own)
    if heart:
        heart.start(superseded=child.stop)
    code = child.wait()
    mask = masking(environ)
    lines = tuple(mask(line)[:_TOLD_CHARACTERS] for line in child.last_lines)
    if code:
        _leave(lines, termination_log)
    if heart:
        last = {"exit_code": code, "last_lines": lines}
        heart.stop(_heartbeat(reporting).model_copy(update=last))
    return code


def _heartbeat(reporting: Reporting) -> Heartbeat:
    return Heartbeat(
        job=reporting.job,
        generation=reporting.generation,
        rank=reporting.rank,
        progress=read_progress(reporting.progress) if reporting.progress else None,
    )


def masking(environ: Mapping[str, str]) -> Callable[[str], str]:
    """Replaces the values that came from Secrets, whole and line by line, by the names of their
    variables.
    """
    values: dict[str, str] = {}
    for name in filter(None, environ.get(SECRET_VARIABLES, "").split(",")):
        for value in (environ.get(name, ""), *environ.get(name, "").splitlines()):
            if len(value.strip()) >= _SHORTEST_SECRET:
                values[value.strip()] = name
    # The longest first: one may be part of another.
    ordered = sorted(values, key=len, reverse=True)

    def mask(text: str) -> str:
        for value in ordered:
            text = text.replace(value, f"<{values[value]}>")
        return text

    return mask


def _leave(lines: Sequence[str], termination_log: Path) -> None:
    """The newest that have room."""
    if not termination_log.exists():
        return
    text = "\n".join(lines).encode()[-_TERMINATION_BYTES:]
    with contextlib.suppress(OSError):
        termination_log.write_bytes(text)


class _Child:
    """The command, its process group, and its output."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._asked = 0
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            self._process = subprocess.Popen(
                list(command),
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                preexec_fn=_die_with_parent(os.getpid()),  # no thread runs yet
            )
        except OSError as error:
            raise ConfigurationError(
                f"can't start '{command[0]}': {error.strerror} (the command is looked up in PATH, "
                f"from {Path.cwd()})"
            ) from error
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._relays = [
            self._relay(self._process.stdout, sys.stdout.buffer),
            self._relay(self._process.stderr, sys.stderr.buffer),
        ]
        if self._asked:  # Asked to stop while the command was being started.
            self._signal(signal.SIGTERM)

    def stop(self, grace_seconds: float = 30.0) -> None:
        """Asks the command to commit and leave; kills it when the grace is over."""
        self._signal(signal.SIGTERM)
        if not self._ended.wait(grace_seconds):
            self._signal(signal.SIGKILL)

    def wait(self) -> int:
        """The exit code, once the command has ended and its output is passed on."""
        assert self._process is not None
        pid, status = 0, 0
        while pid != self._process.pid:
            pid, status = os.waitpid(-1, 0)  # Anything else is an orphan that fell to PID 1.
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code
        self._ended.set()
        # What the command left behind keeps its pipes open: nothing may outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        for relay in self._relays:
            relay.join(timeout=5.0)
        return code if code >= 0 else 128 - code

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1
        self._signal(signal.SIGTERM if self._asked == 1 else signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _relay(self, source: IO[bytes], target: IO[bytes]) -> threading.Thread:
        def pass_on() -> None:
            with source, contextlib.suppress(BrokenPipeError):
                while line := source.readline(_LINE_BYTES):
                    self.last_lines.append(line.decode(errors="replace").rstrip("\r\n"))
                    target.write(line)
                    target.flush()

        thread = threading.Thread(target=pass_on, daemon=True)
        thread.start()
        return thread


def _die_with_parent(parent: int) -> Callable[[], None]:
    """What the child does before it becomes the command: ask to be killed when we are gone."""
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It was gone before we asked.
            os._exit(1)

    return ask


def _say(text: str) -> None:
    sys.stderr.write(f"insitu-run: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
