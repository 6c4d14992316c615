"""Jobs that want the same machines at once, of which there is room for one."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import cast

import pytest

from insitu.api import ConditionType
from insitu_operator.core.decision import BindWorkers, DeleteWorkers
from insitu_operator.core.observed import Machine, State
from insitu_operator.core.policies.gang import UNPLACED_SECONDS, pause_seconds
from insitu_operator.kubernetes import Api
from insitu_operator.shell.reconciling.room import PROMISE_SECONDS, Room
from tests.unit.backends import Pods
from tests.unit.job_builders import Scene

TRAINING_SECONDS = 20.0


class Cluster:
    """Machines with room for one trainer each, and a scheduler that takes pods in any order.

    The jobs see only pods that have a machine, as the operator does: nothing is promised, so that
    all that want to start in one moment do.
    """

    def __init__(self, jobs: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.jobs = [Scene(Pods()).read() for _ in range(jobs)]
        self.running_for = dict.fromkeys(range(jobs), 0.0)
        self.longest_part = dict.fromkeys(range(jobs), 0.0)
        for number, scene in enumerate(self.jobs):
            metadata = scene.job.metadata.model_copy(update={"uid": f"{seed}-{number}"})
            scene.job = scene.job.model_copy(update={"metadata": metadata})

    def holders(self) -> Mapping[int, int]:
        """Machine, by the rank that runs there, to the job that holds it."""
        return {
            rank: number
            for number, scene in enumerate(self.jobs)
            for rank, worker in scene.workers.items()
            if worker.living and worker.placed
        }

    def second(self) -> None:
        """All jobs look at the same moment, then the scheduler places what it can."""
        held = self.holders()
        for number, scene in enumerate(self.jobs):
            full = {rank for rank, holder in held.items() if holder != number}
            scene.machines = {
                name: Machine(f"host-{name}", "has too little cpu" if rank in full else "")
                for rank, name in enumerate("abc")
            }
            scene.again()
        for scene in self.jobs:
            before = {r: w.state for r, w in scene.workers.items()}
            scene.tick()
            for rank, worker in scene.workers.items():
                new = worker.state is State.STARTING and before.get(rank) is State.WAITING
                # What is not placed can't run, whatever the backend makes of it.
                if new or not worker.placed:
                    scene.workers[rank] = replace(
                        worker,
                        state=State.STARTING,
                        placed=False,
                        unschedulable_since=worker.unschedulable_since or scene.now,
                    )
        self.schedule()

    def schedule(self) -> None:
        pending = [
            (scene, rank)
            for scene in self.jobs
            for rank, worker in scene.workers.items()
            if worker.living and not worker.placed and not worker.stopping
        ]
        self.random.shuffle(pending)
        for scene, rank in pending:
            if rank not in self.holders():
                worker = scene.workers[rank]
                scene.workers[rank] = replace(worker, placed=True, unschedulable_since=None)
        for number, scene in enumerate(self.jobs):
            placed = [w for w in scene.workers.values() if w.living and w.placed]
            if len(placed) == 3:
                self.running_for[number] += 1
                if self.running_for[number] == TRAINING_SECONDS:
                    for rank in range(3):
                        scene.ends(rank, 0)
            part = 0 < len(placed) < 3 and not any(w.stopping for w in placed)
            self.longest_part[number] += 1 if part else -self.longest_part[number]
            assert self.longest_part[number] <= UNPLACED_SECONDS + 2

    @property
    def ended(self) -> bool:
        return all(s.job.status.is_true(ConditionType.COMPLETE) for s in self.jobs)


@pytest.mark.parametrize(("jobs", "seed"), [*product([2, 3], range(20)), *product([10], range(3))])
def test_all_of_them_end_and_none_holds_a_part_for_long(jobs: int, seed: int) -> None:
    cluster = Cluster(jobs, seed)
    for _ in range(4000):
        cluster.second()
        if cluster.ended:
            break
    assert cluster.ended
    assert all(scene.job.status.restarts == 0 for scene in cluster.jobs)


def half_placed() -> Scene:
    """A job of three ranks, one of which finds no room."""
    scene = Scene(Pods()).started()
    scene.workers[1] = replace(
        scene.workers[1],
        state=State.STARTING,
        placed=False,
        unschedulable_since=scene.now,
        reason="Unschedulable: 0/3 nodes are available: 1 Insufficient cpu.",
    )
    return scene


def test_the_condition_tells_who_has_no_machine_and_why() -> None:
    condition = half_placed().tick().condition("PodsScheduled")
    assert condition.status == "False"
    assert condition.message.endswith("rank 1: Unschedulable: 0/3 nodes are available: 1"
                                      " Insufficient cpu.")  # fmt: skip


def test_it_keeps_its_machines_until_the_window_is_over_and_asks_to_be_looked_at_then() -> None:
    scene = half_placed().tick()
    assert scene.last is not None
    assert scene.last.requeue_after == UNPLACED_SECONDS
    assert scene.generation == 1


def test_then_it_gives_them_back_and_that_is_no_restart_and_no_disruption() -> None:
    scene = half_placed().wait(UNPLACED_SECONDS).read().settle()
    assert scene.generation == 2
    assert all(w.state is State.WAITING for w in scene.workers.values())
    assert (scene.job.status.restarts, scene.doing) == (0, "Waiting: MachineNotReady")
    assert DeleteWorkers(1) in scene.actions  # The empty Job that held their places goes too.
    binds = scene.did(BindWorkers)
    scene.wait(pause_seconds("", 1)).again().tick()
    assert scene.did(BindWorkers) == binds + 1


def test_a_rank_alone_waits_where_it_is() -> None:
    scene = half_placed()
    for rank, worker in scene.workers.items():
        scene.workers[rank] = replace(worker, placed=False, unschedulable_since=scene.now)
    assert scene.wait(999).read().tick(2).generation == 1


def test_pauses_differ_between_jobs_and_grow_to_a_limit() -> None:
    assert pause_seconds("a", 1) == pause_seconds("a", 1) != pause_seconds("b", 1)
    assert all(5 <= pause_seconds(uid, 1) < 15 for uid in "abcdefgh")
    assert all(80 <= pause_seconds(uid, 99) < 240 for uid in "abcdefgh")


CPU = Decimal(1)
ONE = {"m": {"cpu": CPU}}


class TestPromises:
    """Room is kept in the process when ranks are bound, before the API server tells of it."""

    def room(self) -> Room:
        self.now = 0.0
        return Room(cast("Api", None), lambda: self.now)

    def test_it_is_promised_to_one_job_only(self) -> None:
        room = self.room()
        assert room.promise("a", ONE, ONE)
        assert not room.promise("b", ONE, ONE)

    def test_it_is_promised_for_all_machines_or_for_none(self) -> None:
        room, both = self.room(), {"m": {"cpu": CPU}, "n": {"cpu": CPU}}
        assert room.promise("a", ONE, both)
        assert not room.promise("b", both, both)
        assert room.promise("c", {"n": {"cpu": CPU}}, both)

    def test_a_promise_can_be_made_again_and_given_back_and_ends(self) -> None:
        room = self.room()
        assert room.promise("a", ONE, ONE)
        assert room.promise("a", ONE, ONE)
        room.release("a")
        assert room.promise("b", ONE, ONE)
        self.now += timedelta(seconds=PROMISE_SECONDS).total_seconds()
        assert room.promise("a", ONE, ONE)
