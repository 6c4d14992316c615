"""What is decided where workers are pods: they vanish, are replaced, and may be refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from insitu_operator.core.decision import BindWorkers, StopWorkers
from insitu_operator.core.observed import State, Worker
from insitu_operator.core.reconcile import reconcile
from tests.unit.backends import Backend, Pods, Processes, ended
from tests.unit.job_builders import Scene


class TestInACluster:
    """Where workers that were stopped vanish, and others come in the place of those that ended."""

    def test_ranks_that_vanish_all_together_are_a_disruption(self) -> None:
        scene = Scene(Pods()).started().vanishes(0, 1, 2).settle()
        assert scene.doing == "Restarting"
        scene.again().settle()
        assert (scene.doing, scene.generation) == ("Running", 2)
        assert scene.record
        assert (scene.record.disruptions, scene.record.cause) == (1, "all ranks vanished")

    def test_the_restart_says_what_was_last_known_of_ranks_that_vanished(self) -> None:
        scene = Scene(Pods()).started()
        scene.workers[1] = replace(scene.workers[1], disrupted=True, reason="evicted from node-1")
        scene.tick().vanishes(1).wait(1).tick(2).wait(9).settle().again().settle()
        assert scene.record
        assert scene.record.cause == "rank 1 vanished (evicted from node-1)"

    def test_a_pod_that_somebody_deleted_is_named_with_its_machine(self) -> None:
        scene = Scene(Pods()).started()
        scene.workers[1] = replace(ended(scene.workers[1], 79, scene.now), stopping=True)
        scene.tick().wait(6).settle().again(2).settle()
        assert scene.record
        assert scene.record.cause.startswith("rank 1 on host-b left: somebody deleted a pod")

    def test_a_new_plan_counts_once_and_says_why(self) -> None:
        scene = Scene(Pods()).started().wait(9).read("ac").settle().again().settle()
        assert (scene.doing, scene.generation, len(scene.workers)) == ("Running", 2, 2)
        assert scene.record
        assert scene.record.disruptions == 1
        assert "database node b (rank 1) went away" in scene.record.cause

    def test_suspension_and_resumption_count_as_nothing(self) -> None:
        scene = Scene(Pods()).started().wait(5).suspend().settle()
        assert (scene.doing, scene.backend.all()) == ("Suspended", ())
        scene.wait(5).suspend(False).cannot_read().settle()
        scene.wait(5).read().settle()
        assert (scene.doing, scene.generation) == ("Running", 2)
        assert scene.job.status.restarts == 0

    def test_a_job_that_ends_ends_the_pods_that_a_sidecar_keeps(self) -> None:
        scene = Scene(Pods()).started()
        for rank in range(3):
            scene.ends(rank, 0)
            scene.workers[rank] = replace(scene.workers[rank], lingering=rank == 1)
        scene.tick()
        assert scene.doing == "Complete"
        assert scene.last is not None
        # Its end is written before the pod that tells of it goes, and no event tells that it was.
        assert (scene.did(StopWorkers), scene.last.requeue_after) == (0, 0.0)
        assert scene.tick().did(StopWorkers) == 1

    @pytest.mark.parametrize("backend", [Processes, Pods])
    def test_resuming_before_the_ranks_have_left_counts_as_nothing(
        self, backend: Callable[[], Backend]
    ) -> None:
        scene = Scene(backend(), failurePolicy={"disruptionLimit": 0}).started().wait(5)
        scene.suspend().tick().suspend(False).tick()
        assert scene.doing in ("Stopping", "Suspended")
        scene.settle().again().settle()
        assert (scene.doing, scene.generation) == ("Running", 2)
        assert scene.job.status.restarts == 0

    def test_a_crash_is_told_from_what_the_controller_put_in_its_place(self) -> None:
        scene = Scene(Pods()).started().ends(1, 1, "boom").wait(6).settle().again(2).settle()
        assert (scene.doing, scene.generation, len(scene.backend.all())) == ("Running", 2, 3)
        assert scene.record
        assert scene.record.crashes == 1

    def test_a_crash_has_the_reason_that_its_exit_code_lacks(self) -> None:
        scene = Scene(Pods()).started().ends(1, 137)
        why = "it needed more memory than its limit, 2Gi"
        scene.workers[1] = replace(scene.workers[1], reason=why)
        assert f"killed by signal 9 (exit code 137): {why}" in (
            scene.tick().condition("Reconciling").message
        )

    def test_what_a_rank_waits_for_is_told_with_its_machine(self) -> None:
        scene, why = Scene(Pods()).started(), "Unschedulable: 1 Insufficient cpu"
        scene.workers[1] = replace(scene.workers[1], state=State.STARTING, reason=why)
        told = scene.tick().condition("Running").message
        assert told == f"2 of 3 ranks are running; rank 1 on host-b: {why}"

    def test_a_start_counts_though_nobody_lived_to_tell_of_it(self) -> None:
        scene = Scene(Pods()).read().tick()
        untold = scene.job
        scene.tick(2)
        scene.job, scene.machines = untold, {}
        scene.tick()
        assert (scene.doing, scene.job.status.generation) == ("Running", 1)
        assert scene.did(BindWorkers) == 1

    def test_places_of_a_plan_that_came_to_nothing_are_never_bound(self) -> None:
        scene = Scene(Pods()).read().tick().read("ab").settle()
        assert [w.generation for w in scene.backend.all()] == [2, 2]

    def test_what_cannot_be_cleared_away_holds_up_no_start(self) -> None:
        scene = Scene(Pods()).read().tick().read("ab").tick()
        left = Worker(1, State.FAILED, generation=1, disrupted=True)
        observed = scene.observed()
        observed = replace(observed, workers=(*observed.workers, left))
        assert reconcile(observed, scene.now).actions == (BindWorkers(2),)

    def test_a_lost_record_never_repeats_a_generation(self) -> None:
        scene = Scene(Pods()).started()
        scene.record = None
        scene.settle().again().settle()
        assert (scene.doing, scene.generation) == ("Running", 2)

    def test_a_worker_that_must_leave_is_looked_at_again_when_it_is_overdue(self) -> None:
        scene = Scene(Pods()).started()
        due = scene.now + timedelta(seconds=40)
        scene.workers[1] = replace(scene.workers[1], stopping=True, lost_at=due)
        assert scene.decide().requeue_after == 40


class TestRefusals:
    def test_what_kubernetes_refuses_is_said_and_tried_again(self) -> None:
        scene = Scene(Pods()).read()
        scene.refused = "the operator may not create batch jobs in namespace ml"
        scene.tick()
        assert scene.doing == "Waiting: KubernetesRefused"
        assert "may not create batch jobs" in scene.condition("PodsScheduled").message
        assert scene.condition("Stalled").status == "False"
        assert scene.last
        assert (bool(scene.last.actions), scene.last.requeue_after) == (True, 5)

    def test_a_refused_bind_does_not_count_as_bound(self) -> None:
        scene = Scene(Pods()).read().tick()
        scene.refused = "the operator may not patch pods"
        assert scene.tick().job.status.generation == 0
        scene.refused = ""
        assert scene.settle().doing == "Running"

    def test_a_refusal_changes_nothing_about_a_job_that_has_all_it_needs(self) -> None:
        scene = Scene(Pods()).started()
        scene.refused = "the operator may not create batch jobs"
        assert scene.settle().doing == "Running"

    def test_a_suspended_job_stays_suspended(self) -> None:
        scene = Scene(Pods()).started().ends(0, 1).suspend().tick(2)
        scene.refused = "the operator may not delete batch jobs"
        assert scene.tick().condition("Suspended").status == "True"
