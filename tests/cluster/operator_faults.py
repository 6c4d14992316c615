"""Takes operators and the API server away while jobs start, and says what became of the jobs."""

from __future__ import annotations

import base64
import gzip
import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from insitu_operator.core.objects.names import ASSIGNMENT, GENERATION, INDEX, JOB, plan_map_name
from insitu_operator.core.objects.plan_maps import read_record
from tests.cluster.diary import Diary
from tests.cluster.operator_ground import Ground, Json, job, numbers
from tests.cluster.operators import Operator
from tests.cluster.watch_proxy import WatchProxy

RANKS = 3
_LONGEST_LIFE_SECONDS = 2.0
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Killed:
    """How often the operator was killed, and at which of its stages."""

    kills: int
    while_starting_jobs: int


def kill_at_random(
    ground: Ground, kept: Diary, names: Sequence[str], kills: int, seed: int
) -> Killed:
    """Lets jobs come one by one and kills each operator at a random moment of its life; the one
    after the last may live until all jobs have ended.
    """
    draw = random.Random(seed)
    hit = 0
    for number, due in enumerate(_shares(names, kills)):
        with ground.operator(f"killed-{number}") as operator:
            if due:
                ground.submit(*(job(name, range(RANKS), runs_for="2s") for name in due))
            operator.until_it_leads()
            time.sleep(draw.uniform(0, _LONGEST_LIFE_SECONDS))
            operator.kill()
        hit += any(not kept.are_bound(RANKS, name) for name in kept.stories)
    with ground.supervised():
        kept.until_all("Complete", *names, seconds=_PATIENCE_SECONDS)
    return Killed(kills, hit)


def complaints(
    ground: Ground, names: Iterable[str], end: str, kept: Diary | None = None
) -> list[str]:
    """What is not as if nothing had happened: each job came to the same end in its first
    generation, with one pod a rank, placed by the one plan that is recorded.
    """
    jobs = {found["metadata"]["name"]: found for found in ground.all("tjob")}
    pods, batch_jobs = ground.all("pods"), {j["metadata"]["name"] for j in ground.all("jobs")}
    said = [f"{job} was lost" for job in set(names) - jobs.keys()]
    for name in jobs.keys() & set(names):
        status = jobs[name]["status"]
        if (status["summary"]["status"], status["generation"], status["restarts"]) != (end, 1, 0):
            said.append(f"{name} is {status['summary']}")
        if {b for b in batch_jobs if b.startswith(f"{name}-g")} != {f"{name}-g1"}:
            said.append(f"{name} has not one Job: {sorted(batch_jobs)}")
        mine = [pod for pod in pods if pod["metadata"].get("labels", {}).get(JOB) == name]
        said += _misplaced(ground, name, mine)
    for place, uids in kept.pods.items() if kept else ():
        if len(uids) > 1:
            said.append(f"{place} had {len(uids)} pods")
    return said


def api_server_away(ground: Ground, seconds: float) -> None:
    """It is killed, and ready again when this returns."""
    server = ground.space.cluster.api_server
    server.kill()
    try:
        time.sleep(seconds)
    finally:
        server.start()
        ground.space.cluster.wait_ready()


def cut_watches(served: WatchProxy, how: str) -> None:
    """Those of all that changes when a job runs. "gone": 410, which asks for a new list; "closed":
    the stream ends; "silent": nothing comes any more; "broken": one says 500, which no operator
    survives.
    """
    if how == "broken":
        served.until_watched("pods")
        served.error("pods", 500)
        return
    cut = {"gone": served.gone, "closed": served.closed, "silent": served.silent}[how]
    for plural in ("trainingjobs", "pods", "nodes"):
        served.until_watched(plural)
        cut(plural)


def trainers(ground: Ground) -> dict[str, tuple[str, int]]:
    """The uid of each pod of a job, and how often its containers were started again."""
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            sum(c["restartCount"] for c in pod["status"].get("containerStatuses", ())),
        )
        for pod in ground.all("pods")
        if JOB in pod["metadata"].get("labels", {})
    }


def writes(operators: Iterable[Operator]) -> list[int]:
    """How often each changed something that is not the Lease."""
    return [numbers(operator).writes for operator in operators]


def _shares(names: Sequence[str], kills: int) -> Iterator[Sequence[str]]:
    """In equal parts, as far as possible."""
    for number in range(kills):
        yield names[number * len(names) // kills : (number + 1) * len(names) // kills]


def _misplaced(ground: Ground, name: str, pods: Sequence[Json]) -> Iterator[str]:
    record = read_record(ground.get("configmap", plan_map_name(name)))
    planned = [(1, p.rank, str(p.node), list(map(str, p.shards))) for p in record.plan.ranks]
    if (found := sorted(map(_placed, pods))) != planned:
        told = [(generation, rank, node) for generation, rank, node, _ in found]
        yield f"{name} was not placed by its plan, but {told}"


def _placed(pod: Json) -> tuple[int, int, str, list[str]]:
    """Generation, rank, machine and shards."""
    metadata = pod["metadata"]
    text = metadata["annotations"].get(ASSIGNMENT, '{"shards": []}')
    if not text.startswith("{"):
        text = gzip.decompress(base64.b64decode(text))
    return (
        int(metadata["labels"][GENERATION]),
        int(metadata["annotations"][INDEX]),
        pod["spec"].get("nodeName", ""),
        [shard["id"] for shard in json.loads(text)["shards"]],
    )
