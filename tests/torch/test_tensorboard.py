"""A killed trainer's curves in a real TensorBoard, over HTTP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from insitu.checkpoint import CommitLog, open_store
from insitu.errors import ExitCode
from tests.torch.test_session import exit_codes, started, wait_for_steps

pytestmark = pytest.mark.timeout(240)
T = TypeVar("T")
SECONDS = 100.0


def test_a_killed_rank_0_leaves_curves_without_gaps_or_repetitions(tmp_path: Path) -> None:
    with started(tmp_path, world_size=2) as processes:
        wait_for_steps(tmp_path, 18)
        processes[0].kill()
        exit_codes(processes)
    with tensorboard(tmp_path) as board:
        board.until(lambda: "job/generation-1" in board.runs)
        resumed = committed(tmp_path)
        with started(tmp_path, world_size=2, generation=2, epochs=resumed // 4 + 2) as processes:
            assert exit_codes(processes) == [ExitCode.DONE] * 2
        last = committed(tmp_path)
        one, two = f"job/generation-1-to-step-{resumed}", "job/generation-2"
        board.until(lambda: board.runs == [one, two] and board.steps(two)[-1:] == [last])
        assert board.steps(one) + board.steps(two) == list(range(1, last + 1))
        assert board.tags(two) == {"half", "insitu/epoch", "insitu/samples_per_second", "loss"}


def committed(folder: Path) -> int:
    """The newest commit's step."""
    commit = CommitLog(open_store((folder / "store").as_uri()), "job").newest().commit
    assert commit
    return commit.cursor.step


class Board:
    """A running TensorBoard, asked as its own page asks it."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self._process = process
        self._said = said
        self._url = self.until(lambda: re.findall(r"http://\S+:\d+/", said.read_text()))[0]

    @property
    def runs(self) -> list[str]:
        return sorted(self._get("data/runs"))

    def tags(self, run: str) -> set[str]:
        return set(self._get("data/plugin/scalars/tags")[run])

    def steps(self, run: str) -> list[int]:
        return [step for _, step, _ in self._get(f"data/plugin/scalars/scalars?tag=loss&run={run}")]

    def until(self, found: Callable[[], T]) -> T:
        """Polls; TensorBoard has to be started, and looks for what is new now and then."""
        deadline = time.monotonic() + SECONDS
        while not (value := found()):
            assert self._process.poll() is None, self._said.read_text()
            assert time.monotonic() < deadline, self._said.read_text()
            time.sleep(0.1)
        return value

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path, timeout=10) as answer:
            return json.loads(answer.read())


@contextmanager
def tensorboard(folder: Path) -> Iterator[Board]:
    """`insitu tensorboard` over the store of the jobs in `folder`."""
    said = folder / "tensorboard.txt"
    command = [sys.executable, "-m", "insitu_operator", "tensorboard", "job"]
    options = ["--store", str(folder / "store"), "--port", "0", "--every", "0.2"]
    eager = ["--", "--reload_interval", "1", "--host", "127.0.0.1"]
    with (
        said.open("wb") as file,
        subprocess.Popen(
            [*command, *options, *eager],
            stdout=file,
            stderr=file,
            env={**os.environ, "TMPDIR": str(folder)},
        ) as process,
    ):
        try:
            yield Board(process, said)
        finally:
            process.terminate()
            process.wait(30)
