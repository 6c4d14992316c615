"""What must never be, looked for at each change of the cluster."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from insitu.errors import ConfigurationError
from insitu_operator.core.objects.names import (
    GATE,
    GENERATION,
    INDEX,
    JOB,
    JOB_UID,
    batch_job_name,
    plan_map_name,
)
from insitu_operator.core.objects.plan_maps import read_record
from insitu_operator.core.record import Record
from tests.simulator.store import Id, Json, Store

Place = tuple[str, int, int]
"""Uid of a job, generation, rank."""


class Witness:
    """Hears of all that happens in a store. `wrong` has each thing that must never be, once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wrong: dict[str, None] = {}
        self._generations: defaultdict[str, int] = defaultdict(int)
        self._jobs: Counter[str] = Counter()
        self.bound: dict[Place, str] = {}
        self.names: dict[str, str] = {}
        store.hearers.append(self._hears)

    @property
    def wrong(self) -> tuple[str, ...]:
        return tuple(self._wrong)

    def say(self, text: str) -> None:
        """That something is wrong."""
        self._wrong[text] = None

    def starts(self, job_uid: str) -> tuple[tuple[int, int], ...]:
        """Generations and ranks of a job that were bound, in order."""
        return tuple(sorted(place[1:] for place in self.bound if place[0] == job_uid))

    def _hears(self, kind: str, which: Id, body: Json) -> None:
        if which.resource == "pods" and kind != "DELETED":
            for problem in self._pod(which, body):
                self.say(f"at {self._store.seconds:.1f} s: {problem}")
        elif which.resource == "configmaps" and kind != "DELETED":
            self._record(which, body)
        elif which.resource == "jobs" and kind == "ADDED":
            self._jobs[body["metadata"]["uid"]] += 1
            self._job(which, body)

    def _job(self, which: Id, body: Json) -> None:
        labels = body["metadata"]["labels"]
        uid, generation = labels[JOB_UID], int(labels[GENERATION])
        if any(place[:2] == (uid, generation) for place in self.bound):
            self.say(f"Job {which.name} was created again after its ranks had been started")

    def _record(self, which: Id, body: Json) -> None:
        """Generations of a plan only grow, as long as nobody deletes it."""
        if (record := _read(body)) is None:
            self.say(f"{which.name} holds no record")
            return
        uid = body["metadata"]["ownerReferences"][0]["uid"]
        if record.generation < self._generations[uid]:
            self.say(f"{which.name} went back to generation {record.generation}")
        self._generations[uid] = record.generation

    def _pod(self, which: Id, pod: Json) -> Iterator[str]:
        metadata, place = pod["metadata"], _place(pod)
        uid, generation, rank = place
        gated = any(g["name"] == GATE for g in pod["spec"].get("schedulingGates", ()))
        if not gated and self.bound.get(place) != metadata["uid"]:
            if place in self.bound:
                yield f"rank {rank} of generation {generation} was started twice"
            yield from self._unplanned(which, pod)
            self.bound[place] = metadata["uid"]
        if not _lives(pod):
            return
        # A rank that was never bound does nothing yet.
        for other in self._store.of("pods", which.namespace):
            if other is pod or not _lives(other):
                continue
            there = _place(other)
            if there[0] != uid or other["metadata"]["uid"] == metadata["uid"]:
                continue
            if there == place:
                yield f"{which.name} and {other['metadata']['name']} are the same rank"
            elif there[1] != generation and _runs(pod) and _runs(other):
                yield f"generations {sorted((there[1], generation))} run at once"

    def _unplanned(self, which: Id, pod: Json) -> Iterator[str]:
        """A plan is recorded before the first rank of it is bound, and bound as it says."""
        name = pod["metadata"]["labels"][JOB]
        _, generation, rank = _place(pod)
        found = self._store.find(Id("configmaps", which.namespace, plan_map_name(name)))
        record = _read(found) if found else None
        if record is None or record.generation != generation:
            yield f"generation {generation} of {name} was bound without its record"
            return
        node = next(p.node for p in record.plan.ranks if p.rank == rank)
        machine = next(iter(pod["spec"]["nodeSelector"].values()))
        if node.removeprefix("db") != machine.removeprefix("host-"):
            yield f"rank {rank} beside {node} was bound to {machine}"
        if pod["metadata"]["ownerReferences"][0]["name"] != batch_job_name(name, generation):
            yield f"{which.name} is no pod of generation {generation}"


def _place(pod: Json) -> Place:
    metadata = pod["metadata"]
    labels = metadata["labels"]
    return labels[JOB_UID], int(labels[GENERATION]), int(metadata["annotations"][INDEX])


def _lives(pod: Json) -> bool:
    ended = pod["status"]["phase"] in ("Succeeded", "Failed")
    return not ended and "deletionTimestamp" not in pod["metadata"]


def _runs(pod: Json) -> bool:
    return bool(pod["status"]["phase"] == "Running")


def _read(config_map: Json) -> Record | None:
    try:
        return read_record(config_map)
    except ConfigurationError:
        return None
