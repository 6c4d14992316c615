"""What a session means for its process: exit codes, and SIGTERM as a wish to leave."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from insitu.errors import ConfigurationError, InsituError, exit_code


@contextmanager
def told_by_exit_code(environ: Mapping[str, str]) -> Iterator[None]:
    """An `InsituError` is printed as one line and ends the process with its `ExitCode`."""
    try:
        yield
    except InsituError as error:
        sys.stdout.flush()
        rank = environ.get("RANK", "0")
        sys.stderr.write(f"insitu: rank {rank}: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        raise SystemExit(int(exit_code(error))) from error


@contextmanager
def stopped_by_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM means: commit and leave. Only a main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop()

    before = signal.signal(signal.SIGTERM, asked)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Place:
    """The process and the thread that something was made in."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._thread = threading.get_ident()

    def check(self, what: str) -> None:
        """Raises `ConfigurationError` in any other process or thread: `what` can't be there."""
        where = "process" if os.getpid() != self._process else "thread"
        if where == "process" or threading.get_ident() != self._thread:
            raise ConfigurationError(
                f"{what} in another {where} than the one that opened the session: the ranks step "
                "together there, so nothing else may take their batches. A DataLoader has no place "
                "around them (its workers are processes): reading ahead is done already"
            )
