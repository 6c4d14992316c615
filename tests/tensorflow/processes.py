"""Ranks as real processes, forked from one that has TensorFlow imported and not yet used.

TensorFlow's workers can be joined once in a process, so every rank of every test is a new one.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

SECONDS = 100.0


def run(case: Callable[..., Any], world_size: int, *arguments: object) -> list[Any]:
    """`case(rank, world_size, port, *arguments)` on every rank; their results in order."""
    port = free_port()
    ranks = []
    for rank in range(world_size):
        ours, theirs = multiprocessing.Pipe(duplex=False)
        whole = (theirs, case, rank, world_size, port, *arguments)
        process = _forks().Process(target=_one, args=whole)
        process.start()
        theirs.close()
        ranks.append((process, ours))
    results = [_result(ours) for _, ours in ranks]
    for process, ours in ranks:
        process.join(SECONDS)
        ours.close()
    failed = [text for text, _ in results if text]
    if failed:
        raise AssertionError("\n".join(failed))
    return [value for _, value in results]


def start_script(path: Path, environ: Mapping[str, str], errors: Path) -> ForkServerProcess:
    """Runs a script as `python path` would, but with TensorFlow imported already."""
    process = _forks().Process(target=_script, args=(path, dict(environ), errors))
    process.start()
    return process


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow", "keras", "insitu.tensorflow"])
    return context


def _result(ours: Connection) -> tuple[str, Any]:
    if not ours.poll(SECONDS):
        return "a rank did not answer in time", None
    try:
        found: tuple[str, Any] = ours.recv()
    except EOFError:
        return "a rank ended without a result", None
    return found


def _one(theirs: Connection, case: Callable[..., Any], *arguments: object) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        theirs.send(("", case(*arguments)))
    except BaseException:  # noqa: BLE001 - handed to the test
        theirs.send((traceback.format_exc(), None))
    theirs.close()


def _script(path: Path, environ: dict[str, str], errors: Path) -> None:
    os.environ.update(environ)
    with errors.open("wb") as file:
        os.dup2(file.fileno(), 2)
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")
