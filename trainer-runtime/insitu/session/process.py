"""What a session means for its process: exit codes, and SIGTERM as a wish to leave."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from insitu.errors import InsituError, exit_code


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
