"""What operators that are killed, and an API server that goes away, cost: nothing that stays."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.results import Result
from tests.cluster.diary import diary
from tests.cluster.operator_faults import (
    RANKS,
    api_server_away,
    complaints,
    cut_watches,
    kill_at_random,
    trainers,
    writes,
)
from tests.cluster.operator_ground import Ground, job
from tests.cluster.watch_proxy import proxy

JOBS = 20
_CUTS = ("gone", "closed", "broken", "silent")


def kills(ground: Ground, count: int, seed: int) -> Iterator[Result]:
    """The operator is killed so often while jobs come, start and end."""
    names, began, start = [f"killed-{n}" for n in range(JOBS)], _load(), time.monotonic()
    with diary(ground.space.cluster, ground.space.name) as kept:
        killed = kill_at_random(ground, kept, names, count, seed)
        wrong = complaints(ground, names, "Complete", kept)
        pods = sum(map(len, kept.pods.values()))
    yield _result(
        "operator.killed",
        len(wrong),
        "jobs or pods that are not as without any kill",
        began,
        kills=killed.kills,
        while_jobs_were_starting=killed.while_starting_jobs,
        jobs=JOBS,
        pods=pods,
        seed=seed,
        seconds=round(time.monotonic() - start),
        complaints=wrong,
    )
    ground.clear()


def replicas(ground: Ground) -> Iterator[Result]:
    """Of two one acts; it is killed while jobs start, and the other goes on."""
    names, began = [f"twice-{n}" for n in range(JOBS)], _load()
    with (
        diary(ground.space.cluster, ground.space.name) as kept,
        ground.operator("leader") as leader,
        ground.supervised(POD_NAME="operator-1") as followers,
    ):
        leader.until_it_leads()
        while not followers:
            time.sleep(0.1)
        followers[-1].until("waiting:")
        ground.submit(*(job(name, range(RANKS)) for name in names))
        kept.until(lambda: sum(len(s.bound) for s in kept.stories.values()) > JOBS * RANKS / 2)
        written = writes([leader, followers[-1]])
        leader.kill()
        killed = time.monotonic()
        followers[-1].until_it_leads()
        led = time.monotonic() - killed
        kept.until_running(*names)
        wrong = complaints(ground, names, "Running", kept)
    yield _result(
        "operator.replicas",
        written[1],
        "writes of the one that does not lead",
        began,
        writes_of_the_leader=written[0],
        jobs=JOBS,
        failover_s=round(led, 1),
        complaints=wrong,
    )
    ground.clear()


def away(ground: Ground, seconds: float) -> Iterator[Result]:
    """The API server is gone for so long, while some jobs run and others are about to start."""
    run = [f"run-{n}" for n in range(JOBS)]
    amid, began = [f"amid-{n}" for n in range(5)], _load()
    with (
        ground.supervised() as operators,
        diary(ground.space.cluster, ground.space.name) as kept,
    ):
        ground.submit(*(job(name, range(RANKS)) for name in run))
        kept.until_running(*run)
        ground.submit(*(job(name, range(RANKS)) for name in amid))
        before = trainers(ground)
        api_server_away(ground, seconds)
        start = time.monotonic()
        ground.submit(job("after", range(RANKS)))
        kept.until_running("after")
        after = time.monotonic() - start
        kept.until_running(*run, *amid)
        now = trainers(ground)
        lost = [name for name, pod in before.items() if now.get(name) != pod]
        wrong = complaints(ground, [*run, *amid, "after"], "Running", kept)
        started = len(operators)
    yield _result(
        "operator.api_server_away",
        len(lost),
        "trainers that were started again or replaced",
        began,
        seconds_away=seconds,
        jobs=len(run) + len(amid),
        trainers=len(before),
        new_job_runs_after_s=round(after, 1),
        operator_started=started,
        complaints=wrong,
    )
    ground.clear()


def cuts(ground: Ground) -> Iterator[Result]:
    """Watches of jobs, pods and nodes end in every way there is."""
    file, began = ground.folder / "proxy", _load()
    with (
        proxy(ground.space.cluster.kubeconfig, file) as served,
        ground.supervised(KUBECONFIG=str(file)) as operators,
        diary(ground.space.cluster, ground.space.name) as kept,
    ):
        names = ["before"]
        ground.submit(job("before", range(RANKS)))
        kept.until_running("before")
        before, runs_after = trainers(ground), {}
        for cut in _CUTS:
            cut_watches(served, cut)
            start = time.monotonic()
            ground.submit(job(f"after-{cut}", range(RANKS)))
            kept.until_all("Running", f"after-{cut}", seconds=300)
            names.append(f"after-{cut}")
            runs_after[cut] = round(time.monotonic() - start, 1)
        now = trainers(ground)
        lost = [name for name, pod in before.items() if now.get(name) != pod]
        wrong = complaints(ground, names, "Running", kept)
        started = len(operators)
    yield _result(
        "operator.watches_cut",
        len(lost),
        "trainers that were started again or replaced",
        began,
        new_job_runs_after_s=runs_after,
        operator_started=started,
        complaints=wrong,
    )
    ground.clear()


def _load() -> float:
    return os.getloadavg()[0]


def _result(name: str, value: float, unit: str, began: float, **conditions: Any) -> Result:
    load = [round(began, 1), round(_load(), 1)]
    told = {"cluster": "testbed, nodes by kwok", "cores": os.cpu_count(), **conditions}
    return Result(name, value, unit, "target 0", float(value), {**told, "load": load})
