"""`make demo`: the whole way of a sample, on this machine, in about half a minute.

Three real database nodes, an example's rows in them, one trainer beside each node; one trainer is
killed in the middle of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from examples.demo.say import accuracy, command, console, insitu, rows_file, say
from examples.demo.shows import Nodes, Show
from insitu.progress import read_progress
from insitu_operator.local.folder import JobFolder


def run(show: Show) -> int:
    """Runs the demo; 0 when every claim held."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="insitu-demo-") as folder, _three_nodes(show) as found:
        work = Path(folder)
        endpoint = f"{found.nodes[0].host}:{found.nodes[0].port}"
        for script in show.scripts:
            shutil.copy(script, work)
        job = work / "job.yaml"
        job.write_text(
            (show.folder / "job.yaml").read_text().replace(show.database.endpoint, endpoint)
        )
        kept = work / ".insitu" / show.example

        say(f"Load {show.rows}, each row on two of the three nodes")
        rows = rows_file(work)
        insitu("load", rows, f"--{show.database.name}", endpoint, "--table", show.table, *show.load)
        say("Plan: who would read what")
        insitu("plan", job)
        say(f"Train, and kill one trainer after step {show.kill_at_step}")
        killed = _train(job, kept, show.kill_at_step)
        say(f"The model it left behind, on {show.held_out}")
        reached = accuracy(work, (kept / "checkpoints").as_uri(), show.example)
        say("The checkpoints it kept")
        insitu("checkpoints", job)
        status = _read(kept / "status.json")
        failures = list(_broken_claims(status, killed, reached, show.wanted_accuracy))
    console.print()
    for failure in failures:
        console.print(f"[red]not as promised:[/] {failure}")
    if not failures:
        seconds = time.monotonic() - began
        console.print(
            f"[green]All as promised[/] in {seconds:.0f} s: accuracy {reached:.3f}, every row read"
            " beside its database node, one trainer killed and nothing lost."
        )
    return 1 if failures else 0


@contextmanager
def _three_nodes(show: Show) -> Iterator[Nodes]:
    say(f"Start three {show.database.title} nodes")
    began = time.monotonic()
    with show.database.start(3) as cluster:
        for node in cluster.nodes:
            console.print(f"  {node.id} on {node.host}:{node.port}")
        console.print(f"  ready after {time.monotonic() - began:.1f} s")
        yield cluster


def _train(job: Path, kept: Path, kill_at_step: int) -> str | None:
    """Runs the job and kills one trainer on the way; says which, None if there was no chance."""
    killed, at, recovered = None, 0.0, False
    with subprocess.Popen(command("run", job)) as run:
        while run.poll() is None:
            if killed is None:
                step = _step(kept / "status.json")
                if step >= kill_at_step and (pid := _trainer(run.pid)):
                    psutil.Process(pid).kill()
                    killed, at = f"process {pid}", time.monotonic()
                    console.print(f"[yellow]kill -9 {pid}[/]: one of the three trainers is gone")
            elif not recovered and _trains_again(kept):
                recovered = True
                seconds = time.monotonic() - at
                console.print(f"[yellow]the next step[/] {seconds:.1f} s after the kill")
            time.sleep(0.02)
    if run.returncode:
        raise SystemExit(f"insitu run ended with exit code {run.returncode}")
    return killed


def _trains_again(kept: Path) -> bool:
    """Whether the second generation has made a step."""
    progress = read_progress(JobFolder(kept).progress(2, 0))
    return progress is not None and progress.state != "starting"


def _trainer(run: int) -> int | None:
    """The process id of the last of the user's scripts below `insitu run`."""
    scripts = [
        child.pid
        for child in psutil.Process(run).children(recursive=True)
        if child.is_running() and child.cmdline()[-1:] == ["train.py"]
        and "insitu.supervisor" not in child.cmdline()
    ]  # fmt: skip
    return max(scripts, default=None)


def _broken_claims(
    status: dict[str, object], killed: str | None, reached: float, wanted: float
) -> Iterator[str]:
    locality, restarts = status.get("locality"), status.get("restarts", 0)
    assert isinstance(locality, dict)
    assert isinstance(restarts, int)
    if reached < wanted:
        yield f"accuracy {reached:.3f} is below {wanted}"
    if killed is None or restarts < 1:
        yield "no trainer was killed, or the job did not notice"
    if locality.get("remote") or locality.get("bytesRemote") or not locality.get("bytesLocal"):
        yield f"not every row was read beside its database node: {locality}"


def _step(status: Path) -> int:
    trainer = _read(status).get("trainerStatus")
    return int(trainer["step"]) if isinstance(trainer, dict) else 0


def _read(status: Path) -> dict[str, object]:
    try:
        found = json.loads(status.read_text())
    except FileNotFoundError:
        return {}
    assert isinstance(found, dict)
    return found
