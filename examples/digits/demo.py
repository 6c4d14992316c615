"""`make demo`: the whole way of a sample, on this machine, in about half a minute.

Three real Ignite nodes, the digits in them, one trainer beside each node; one trainer is killed in
the middle of it. Ends with 0 only if everything that it set out to show has been seen.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from examples.digits.data import write_training_rows
from examples.digits.show import WANTED_ACCURACY, accuracy, command, console, insitu, say
from testbed import ignite

HERE = Path(__file__).parent
KILL_AT_STEP = 120


def main() -> int:
    """Runs the demo; 0 when every claim held."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="insitu-demo-") as folder, _three_nodes() as cluster:
        work = Path(folder)
        endpoint = f"{cluster.nodes[0].host}:{cluster.nodes[0].port}"
        for name in ("train.py", "model.py", "data.py", "evaluate.py"):
            shutil.copy(HERE / name, work)
        job = work / "job.yaml"
        job.write_text((HERE / "job.yaml").read_text().replace("127.0.0.1:10800", endpoint))

        say("Load 1,437 handwritten digits, each row on two of the three nodes")
        rows = write_training_rows(work)
        insitu("load", rows, "--ignite", endpoint, "--table", "DIGITS", "--key", "id",
                "--backups", "1")  # fmt: skip
        say("Plan: who would read what")
        insitu("plan", job)
        say(f"Train, and kill one trainer after step {KILL_AT_STEP}")
        killed = _train(job)
        say("The model it left behind, on digits that never were in the database")
        store = (work / ".insitu" / "digits" / "checkpoints").as_uri()
        reached = accuracy(work, store)
        say("The checkpoints it kept")
        insitu("checkpoints", job)
        failures = list(_broken_claims(_status(job), killed, reached))
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
def _three_nodes() -> Iterator[ignite.Cluster]:
    say("Start three Apache Ignite nodes")
    began = time.monotonic()
    with ignite.start(nodes=3) as cluster:
        for node in cluster.nodes:
            console.print(f"  {node.id} on {node.host}:{node.port}")
        console.print(f"  ready after {time.monotonic() - began:.1f} s")
        yield cluster


def _train(job: Path) -> str | None:
    """Runs the job and kills one trainer on the way; says which, None if there was no chance."""
    killed = None
    with subprocess.Popen(command("run", job)) as run:
        while run.poll() is None:
            if killed is None and _step(job) >= KILL_AT_STEP and (pid := _trainer(run.pid)):
                psutil.Process(pid).kill()
                killed = f"process {pid}"
                console.print(f"[yellow]kill -9 {pid}[/]: one of the three trainers is gone")
            time.sleep(0.02)
    if run.returncode:
        raise SystemExit(f"insitu run ended with exit code {run.returncode}")
    return killed


def _trainer(run: int) -> int | None:
    """The process id of the last of the user's scripts below `insitu run`."""
    scripts = [
        child.pid
        for child in psutil.Process(run).children(recursive=True)
        if child.is_running() and child.cmdline()[-1:] == ["train.py"]
        and "insitu.supervisor" not in child.cmdline()
    ]  # fmt: skip
    return max(scripts, default=None)


def _broken_claims(status: dict[str, object], killed: str | None, reached: float) -> Iterator[str]:
    locality, restarts = status.get("locality"), status.get("restarts", 0)
    assert isinstance(locality, dict)
    assert isinstance(restarts, int)
    if reached < WANTED_ACCURACY:
        yield f"accuracy {reached:.3f} is below {WANTED_ACCURACY}"
    if killed is None or restarts < 1:
        yield "no trainer was killed, or the job did not notice"
    if locality.get("remote") or locality.get("bytesRemote") or not locality.get("bytesLocal"):
        yield f"not every row was read beside its database node: {locality}"


def _step(job: Path) -> int:
    trainer = _status(job).get("trainerStatus")
    return int(trainer["step"]) if isinstance(trainer, dict) else 0


def _status(job: Path) -> dict[str, object]:
    try:
        found = json.loads((job.parent / ".insitu" / "digits" / "status.json").read_text())
    except FileNotFoundError:
        return {}
    assert isinstance(found, dict)
    return found


if __name__ == "__main__":
    sys.exit(main())
