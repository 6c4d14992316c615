"""Ranks as real processes, forked from one that has torch imported: groups over loopback."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import BaseContext, ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import torch

MOST_RANKS = 5
_SECONDS = 90.0


class Processes:
    """Runs a function once on each of several processes at a time."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, case: Callable[..., Any], world_size: int, *arguments: object) -> list[Any]:
        """`case(rank, world_size, port, *arguments)` on every rank; their results in order.

        All of them wait for each other, so no two of them ever share a process.
        """
        port = free_port()
        futures = [
            self._pool.submit(case, rank, world_size, port, *arguments)
            for rank in range(world_size)
        ]
        return [future.result(_SECONDS) for future in futures]


@contextmanager
def processes(context: BaseContext | None = None) -> Iterator[Processes]:
    """Forked ones unless `context` says otherwise; what is imported already is up to all tests."""
    with ProcessPoolExecutor(
        MOST_RANKS, mp_context=context or _forks(), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        yield Processes(pool)


def start_script(path: Path, environ: Mapping[str, str], errors: Path) -> ForkServerProcess:
    """Runs a script as `python path` would, but with torch imported already."""
    process = _forks().Process(target=_script, args=(path, dict(environ), errors))
    process.start()
    return process


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _forks() -> ForkServerContext:
    """What a first optimizer imports takes longer than torch itself."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo", "insitu.torch"])
    return context


def _script(path: Path, environ: dict[str, str], errors: Path) -> None:
    os.environ.update(environ)
    with errors.open("wb") as file:
        os.dup2(file.fileno(), 2)
    runpy.run_path(str(path), run_name="__main__")
