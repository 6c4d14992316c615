"""Server processes that end when whoever started them ends."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_FRAME = re.compile(r"\s+(at |\.\.\. \d+ more)")


def spawn(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    inherit: Sequence[int] = (),
    tied: bool,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a server in its own session, with nothing of this process's environment.

    Some servers publish their environment to every client.

    Args:
        command: The server and its arguments; the executable by its path.
        folder: Its working directory.
        log: Receives all it says, after what is there already.
        inherit: File descriptors it keeps open.
        tied: The kernel kills it when the thread that called this ends (Linux).
        environment: What it needs there, beside the locale.
    """
    if tied and sys.platform == "linux":
        command = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", *command]
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={"LANG": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=inherit,
            start_new_session=True,
        )


def end(processes: Sequence[psutil.Process], grace_seconds: float) -> None:
    """SIGTERM to all, SIGKILL after `grace_seconds` to those still there; returns when none is."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=grace_seconds)
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn)


def last_lines(log: Path, count: int = 20) -> str:
    """The end of a log for an error message, without the frames of Java's stack traces."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    told = [line for line in lines if line.strip() and not _FRAME.match(line)]
    return "\n".join(told[-count:]) or "(it wrote nothing)"
