"""How fast the operator starts jobs, and what that costs: one, a large one, hundreds at once."""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.results import Result
from testbed.cluster.daemon import GARBAGE_PERCENT
from tests.cluster.diary import Diary, Story, diary
from tests.cluster.operator_faults import cut_watches
from tests.cluster.operator_ground import Ground, Json, Numbers, job, numbers
from tests.cluster.operators import Operator
from tests.cluster.watch_proxy import proxy

TABLE_MACHINES = 10
"""Jobs that come together train on a table of so many machines, each on one of several."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure has to stay below."""

    name: str
    most: float
    unit: str


@dataclass
class Bench:
    """A leading operator, and somebody who takes notes. `conditions` hold for all results."""

    ground: Ground
    operator: Operator
    diary: Diary
    conditions: Mapping[str, Any]

    def numbers(self) -> Numbers:
        return numbers(self.operator)

    def result(self, target: Target, value: float, began: float, **conditions: Any) -> Result:
        """`began`: the load of the machine, in processes, when the measurement did."""
        load = {"load": [round(began, 1), round(os.getloadavg()[0], 1)]}
        return Result(
            target.name,
            round(value, 3),
            target.unit,
            f"target {target.most:g} {target.unit}",
            round(value / target.most, 3) if target.most else value,
            {**self.conditions, **conditions, **load},
        )

    def at_rest(self, seconds: float) -> None:
        """Returns when the operator has sent no request for so long."""
        self._unchanged(lambda: sum(self.numbers().requests.values()), seconds)

    def at_rest_of_writes(self, seconds: float) -> None:
        """Returns when it has written nothing for so long."""
        self._unchanged(lambda: self.numbers().writes, seconds)

    def _unchanged(self, count: Callable[[], int], seconds: float) -> None:
        end, before, since = time.monotonic() + 600, count(), time.monotonic()
        while time.monotonic() < since + seconds:
            if time.monotonic() > end:
                raise TimeoutError(f"never at rest: {before}")
            time.sleep(0.5)
            if (now := count()) != before:
                before, since = now, time.monotonic()


_LONG_LEASE = {"INSITU_LEASE_SECONDS": "90", "INSITU_RENEW_DEADLINE_SECONDS": "60"}
"""What other programs do on this machine must not end an operator in the middle."""

_AS_IN_THE_IMAGE = {"MALLOC_ARENA_MAX": "2", "PROMETHEUS_DISABLE_CREATED_SERIES": "true"}


@contextlib.contextmanager
def bench(ground: Ground, name: str, **variables: str) -> Iterator[Bench]:
    """A new operator, when it leads."""
    with ground.operator(name, **_AS_IN_THE_IMAGE, **_LONG_LEASE, **variables) as operator:
        operator.until_it_leads()
        with diary(ground.space.cluster, ground.space.name) as kept:
            yield Bench(ground, operator, kept, _conditions(ground))


def one_by_one(
    bench: Bench, machines: int, jobs: int, targets: Mapping[str, Target]
) -> list[Result]:
    """Jobs that each find the cluster at rest, from the start of `kubectl apply`.

    `targets` of "p50", "p99", "status".
    """
    began, seconds, submitted, status = os.getloadavg()[0], [], [], []
    for number in range(jobs):
        name = f"single-{machines}-{number}"
        document = job(name, range(machines))
        start = time.monotonic()
        bench.ground.space.apply(document)
        bound = bench.diary.until_bound(machines, name)
        story = bench.diary.stories[name]
        assert story.created
        assert story.first_status
        seconds.append(bound - start)
        submitted.append(bound - story.created)
        status.append(story.first_status - story.created)
        bench.ground.space.kubectl("delete", "tjob", name, "--wait=false")
        bench.at_rest(1.0)
    measured = {
        "machines": machines,
        "jobs": jobs,
        "apply_to_bound": _spread(seconds),
        "accepted_to_bound": _spread(submitted),
        "accepted_to_first_status": _spread(status),
    }
    values = {
        "p50": statistics.median(seconds),
        "p99": quantile(seconds, 0.99),
        "status": max(status),
    }
    return [
        bench.result(target, values[which], began, **measured) for which, target in targets.items()
    ]


def at_once(
    bench: Bench, jobs: int, targets: Mapping[str, Target], tables: int = 20
) -> list[Result]:
    """Jobs of ten pods each, created by one command, on tables of ten machines each.

    `targets` of "bound", "requests", "memory".
    """
    names = [f"crowd-{number}" for number in range(jobs)]
    documents = [crowd(name, number % tables) for number, name in enumerate(names)]
    began, before, start = os.getloadavg()[0], bench.numbers(), time.monotonic()
    with memory_peak(bench) as peak:
        bench.ground.submit(*documents)
        created = time.monotonic() - start
        bound = bench.diary.until_bound(TABLE_MACHINES, *names, seconds=900) - start
        then = bench.numbers()
        bench.at_rest(5.0)
    after = bench.numbers()
    stories = [bench.diary.stories[name] for name in names]
    measured = {
        "jobs": jobs,
        "pods_each": TABLE_MACHINES,
        "tables": tables,
        "created_s": round(created, 1),
        "accepted_to_job_posted": _spread([_waited(story) for story in stories]),
        "requests_when_bound": round(_asked(before, then) / jobs, 1),
        "requests_by_kind": _kinds(before, after, jobs),
        "operator_cpu_s": round(after.cpu_seconds - before.cpu_seconds, 1),
        "running": sum(story.summary == "Running" for story in stories),
    }
    values = {
        "bound": bound,
        "requests": _asked(before, after) / jobs,
        "memory": max(peak) / 1e6,
    }
    return [
        bench.result(target, values[which], began, **measured) for which, target in targets.items()
    ]


def rest(bench: Bench, seconds: float, target: Target) -> Result:
    """What is asked for while nothing changes."""
    bench.at_rest(5.0)
    began, before = os.getloadavg()[0], bench.numbers()
    time.sleep(seconds)
    after = bench.numbers()
    return bench.result(
        target,
        _asked(before, after) * 60 / seconds,
        began,
        seconds=seconds,
        jobs=len(bench.diary.stories),
        kinds=_kinds(before, after, 1),
        operator_cpu_percent=round((after.cpu_seconds - before.cpu_seconds) / seconds * 100, 2),
    )


def relists(
    ground: Ground, jobs: int, count: int, target: Target, resting: Target
) -> Iterator[Result]:
    """Jobs that come while everything is read again: because it is time for it, because all
    watches were told that they are out of date, and because the operator has just started.
    """
    file = ground.folder / "proxy"
    with bench(ground, "filling") as filled:
        _fill(filled, jobs)
        yield rest(filled, 60, resting)
    with bench(ground, "resync", INSITU_RESYNC_SECONDS="1") as always:
        always.at_rest_of_writes(5.0)
        yield newcomers(always, target, count, "resync", lambda: None)
    with (
        proxy(ground.space.cluster.kubeconfig, file) as served,
        bench(ground, "relist", KUBECONFIG=str(file)) as cut,
    ):
        cut.at_rest(5.0)
        yield newcomers(cut, target, count, "relist", lambda: cut_watches(served, "gone"))


def newcomers(
    bench: Bench, target: Target, count: int, during: str, disturb: Callable[[], None]
) -> Result:
    """Jobs that each come right after `disturb`, until their Job was posted."""
    began, waited = os.getloadavg()[0], []
    for number in range(count):
        name = f"{during}-{number}"
        disturb()
        bench.ground.submit(crowd(name, number))
        story = bench.diary.stories[name]
        bench.diary.until(partial(_is_acted_on, story))
        waited.append(_waited(story))
        bench.diary.until_bound(TABLE_MACHINES, name)
    return bench.result(
        target,
        max(waited),
        began,
        during=during,
        jobs=len(bench.diary.stories),
        newcomers=count,
        accepted_to_job_posted=_spread(waited),
    )


def _fill(bench: Bench, jobs: int) -> None:
    names = [f"old-{number}" for number in range(jobs)]
    for first in range(0, jobs, 50):
        some = names[first : first + 50]
        bench.ground.submit(*(crowd(name, number % 20) for number, name in enumerate(some)))
        bench.diary.until_bound(TABLE_MACHINES, *some, seconds=900)
    bench.at_rest(5.0)


def crowd(name: str, table: int) -> Json:
    """A job on one of the tables, whose machines are its own."""
    return job(name, range(table * TABLE_MACHINES, (table + 1) * TABLE_MACHINES))


@contextlib.contextmanager
def memory_peak(bench: Bench) -> Iterator[list[float]]:
    """Resident bytes, twice a second."""
    seen, over = [bench.numbers().memory], threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            seen.append(bench.numbers().memory)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _is_acted_on(story: Story) -> bool:
    return story.first_batch_job is not None


def _waited(story: Story) -> float:
    assert story.created
    assert story.first_batch_job
    return story.first_batch_job - story.created


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "min": round(min(values), 3),
        "p50": round(statistics.median(values), 3),
        "p99": round(quantile(values, 0.99), 3),
        "max": round(max(values), 3),
    }


def _asked(before: Numbers, after: Numbers) -> int:
    return sum(after.requests.values()) - sum(before.requests.values())


def _kinds(before: Numbers, after: Numbers, jobs: int) -> dict[str, float]:
    kinds = Counter(after.requests) - Counter(before.requests)
    return {kind: round(count / jobs, 2) for kind, count in sorted(kinds.items())}


def _conditions(ground: Ground) -> dict[str, Any]:
    real, nodes = ground.space.cluster.nodes, ground.space.cluster.kubectl.items("nodes")
    return {
        "cluster": f"testbed, {len(real)} nodes, and {len(nodes) - len(real)} by kwok; GOGC"
        f" {GARBAGE_PERCENT}",
        "cores": os.cpu_count(),
        "operator": "a process with the chart's rights in one namespace, and a lease of 90 s",
        "databases": "1,024 shards with a backup, not real; all else is",
    }
