"""What is decided about a job: a state in, a decision out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from insitu.api import ConditionType, Reason, Status
from insitu.errors import ExitCode
from insitu.progress import Progress
from insitu.topology import DatabaseNode, NodeId
from insitu_operator.core.decision import (
    BindWorkers,
    CreateWorkers,
    DeleteJob,
    DeleteWorkers,
    RecordPlan,
    StopWorkers,
)
from insitu_operator.core.observed import Machine, State, Worker
from insitu_operator.core.reconcile import REFUSED_SECONDS, reconcile
from tests.unit.job_builders import START, Scene, topology


class TestStarting:
    def test_the_plan_is_recorded_before_any_worker_exists(self) -> None:
        decision = Scene().read().decide()
        assert [type(action) for action in decision.actions] == [RecordPlan, CreateWorkers]

    def test_all_ranks_are_bound_together_to_the_recorded_plan(self) -> None:
        scene = Scene().read().tick()
        assert scene.decide().actions == (BindWorkers(1),)
        scene.tick(3)
        assert scene.doing == "Running"
        assert [w.generation for w in scene.workers.values()] == [1, 1, 1]

    def test_without_a_reading_it_waits_and_says_so(self) -> None:
        scene = Scene().tick()
        assert scene.doing == "Waiting: TopologyPending"
        assert not scene.actions

    @pytest.mark.parametrize(
        ("reason", "stalled"),
        [
            (Reason.DATABASE_UNAVAILABLE, False),
            (Reason.ACCESS_DENIED, True),
            (Reason.SOURCE_INVALID, True),
        ],
    )
    def test_a_database_that_refuses_stalls_and_one_that_is_away_does_not(
        self, reason: Reason, stalled: bool
    ) -> None:
        scene = Scene().cannot_read(reason).tick()
        assert scene.condition("Stalled").status == str(stalled)
        assert scene.condition("Failed").status == "False"

    def test_a_partition_without_owner_refuses_the_start(self) -> None:
        scene = Scene().read("ac", backups=0).tick()
        assert scene.condition("TopologyResolved").reason is Reason.PARTITIONS_LOST
        assert "readable copy of 2 shards" in scene.condition("TopologyResolved").message
        assert not scene.actions
        assert scene.read().tick().actions

    def test_moving_shards_hold_up_the_start_for_a_bounded_time(self) -> None:
        scene = Scene().read(moving=[1]).tick()
        assert scene.doing == "Waiting: ShardsMoving"
        assert scene.decide().requeue_after == 30
        assert scene.wait(31).tick().did(RecordPlan) == 1

    def test_no_rank_starts_before_every_machine_is_known(self) -> None:
        scene = Scene().read()
        scene.machines = {"a": Machine("m1"), "c": Machine("m3", "no CPU is left")}
        scene.tick(3)
        assert scene.condition("PodsScheduled").reason is Reason.MACHINE_NOT_READY
        assert "database node b is not known" in scene.condition("PodsScheduled").message
        assert "no CPU is left" in scene.condition("PodsScheduled").message
        assert scene.did(BindWorkers) == 0

    def test_a_plan_that_is_out_of_date_before_the_start_is_made_again(self) -> None:
        scene = Scene().read().tick().read("ab").settle()
        assert scene.generation == 2
        assert sorted(scene.workers) == [0, 1]
        assert {w.generation for w in scene.workers.values()} == {2}

    def test_a_half_done_bind_is_completed_with_the_same_plan(self) -> None:
        scene = Scene().read().tick(2)
        scene.workers[2] = Worker(2, State.WAITING)
        scene.job = scene.job.model_copy(update={"status": Status()})
        scene.settle()
        assert scene.generation == 1
        assert scene.doing == "Running"

    def test_the_start_goes_above_every_generation_the_store_has_heard_of(self) -> None:
        observed = replace(Scene().read().observed(), committed_generation=7)
        record = next(a for a in reconcile(observed, START).actions if isinstance(a, RecordPlan))
        assert record.record.generation == 8

    def test_another_controllers_job_is_left_alone(self) -> None:
        decision = Scene(managedBy="kueue.x-k8s.io/multikueue").read().decide()
        assert not decision.actions
        assert not decision.status.conditions

    def test_ranks_of_an_unknown_generation_are_stopped_first(self) -> None:
        scene = Scene().started()
        scene.record = None
        assert isinstance(scene.decide().actions[0], StopWorkers)


class TestEnding:
    def test_it_is_complete_when_every_rank_is(self) -> None:
        scene = Scene().started().ends(0, 0).ends(1, 0).tick()
        assert scene.doing == "Running"
        scene.ends(2, 0).settle()
        assert scene.doing == "Complete"
        assert scene.condition("Finished").status == "True"
        assert scene.job.status.completion_time == scene.now

    @pytest.mark.parametrize(
        ("epoch", "says"), [(20, ""), (3, ": their script left after 3 of 20")]
    )
    def test_it_says_how_many_epochs_a_script_left_out(self, epoch: int, says: str) -> None:
        scene = Scene().started().reports(Progress(epoch=epoch, epochs=20, step=9, state="done"))
        scene.ends(0, 0).ends(1, 0).ends(2, 0).settle()
        message = scene.condition("Complete").message
        assert message == "all 3 ranks ended their work" + says + (" epochs" if says else "")

    def test_a_finished_job_never_starts_again(self) -> None:
        scene = Scene().started()
        for rank in range(3):
            scene.ends(rank, 0)
        scene.settle()
        scene.workers.clear()
        scene.read("ab").wait(1000).settle()
        assert scene.did(BindWorkers) == 1
        assert scene.doing == "Complete"

    def test_it_is_deleted_when_its_time_to_live_is_over_and_not_before(self) -> None:
        scene = Scene(ttlSecondsAfterFinished=100).started()
        for rank in range(3):
            scene.ends(rank, 0)
        scene.settle().wait(40).tick()
        assert scene.last
        assert scene.last.requeue_after == 60
        assert scene.wait(60).tick().did(DeleteJob) == 1

    @pytest.mark.parametrize("code", [0, ExitCode.CONFIGURATION], ids=["complete", "failed"])
    def test_the_pass_that_ends_it_asks_for_the_one_that_deletes_it(self, code: int) -> None:
        scene = Scene(ttlSecondsAfterFinished=100).started()
        for rank in range(3):
            scene.ends(rank, code)
        scene.tick()
        assert scene.job.status.completion_time == scene.now
        assert scene.last
        assert scene.last.requeue_after == 100

    def test_a_job_whose_time_to_live_is_over_waits_for_its_ranks_without_asking_again(
        self,
    ) -> None:
        scene = Scene(ttlSecondsAfterFinished=1).started().ends(0, ExitCode.CONFIGURATION).tick()
        decision = scene.wait(2).decide()
        assert not any(isinstance(action, DeleteJob) for action in decision.actions)
        assert decision.requeue_after is None


class TestFailing:
    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            (ExitCode.CONFIGURATION, Reason.CONFIGURATION_REFUSED),
            (ExitCode.DATA, Reason.DATA_REFUSED),
        ],
    )
    def test_what_trying_again_cannot_help_fails_at_once(self, code: int, reason: Reason) -> None:
        scene = Scene().started().ends(1, code, "column 'pixel' is unknown").settle()
        assert scene.condition("Failed").reason is reason
        assert "column 'pixel' is unknown" in scene.condition("Failed").message
        assert not any(w.living for w in scene.workers.values())

    def test_a_crash_starts_all_ranks_again_in_a_new_generation(self) -> None:
        scene = Scene().started().ends(1, 137)
        scene.ends(0, ExitCode.PEER_LOST).ends(2, ExitCode.PEER_LOST)
        scene.wait(2).read().settle()
        assert (scene.doing, scene.generation) == ("Running", 2)
        assert scene.record
        assert (scene.record.crashes, scene.record.disruptions) == (1, 0)
        assert "rank 1 beside b was killed by signal 9" in scene.record.cause

    def test_the_restart_needs_a_reading_from_after_the_failure(self) -> None:
        scene = Scene().started().wait(10).ends(0, 1).ends(1, 75).ends(2, 75).wait(5).tick(2)
        assert scene.generation == 1
        assert scene.doing == "Restarting"
        assert scene.read().settle().generation == 2

    def test_other_ranks_get_a_moment_to_leave_by_themselves(self) -> None:
        scene = Scene().started().ends(0, ExitCode.PEER_LOST).wait(1).tick()
        assert scene.did(StopWorkers) == 0
        scene.ends(1, 1, "ValueError: bad").wait(5).settle().again(2).settle()
        assert scene.record
        assert scene.record.crashes == 1
        assert "ValueError: bad" in scene.record.cause

    def test_ranks_that_do_not_leave_are_asked_to(self) -> None:
        scene = Scene().started().ends(0, 1).wait(6).tick()
        stop = next(a for a in scene.actions if isinstance(a, StopWorkers))
        assert stop.grace_seconds == 10

    def test_crashes_are_limited_and_their_pauses_grow(self) -> None:
        scene = Scene(failurePolicy={"backoffLimit": 2}).started()
        for pause in (1, 2):
            for rank in range(3):
                scene.ends(rank, 1, "Traceback", "boom")
            scene.wait(0.1).read().tick()
            assert scene.last
            assert scene.last.requeue_after == pytest.approx(pause - 0.1)
            scene.wait(pause).settle()
            assert scene.doing == "Running"
        for rank in range(3):
            scene.ends(rank, 1, "Traceback", "boom")
        scene.wait(1).read().settle()
        assert scene.condition("Failed").reason is Reason.BACKOFF_LIMIT_EXCEEDED
        assert "exit code 1" in scene.condition("Failed").message
        assert "boom" in scene.condition("Failed").message
        assert scene.did(BindWorkers) == 3

    @pytest.mark.parametrize(
        "code",
        [
            ExitCode.PEER_LOST,
            ExitCode.NOT_OWNER,
            ExitCode.DATABASE_UNAVAILABLE,
            ExitCode.STALE_GENERATION,
            ExitCode.LEFT,
            ExitCode.STORE,
        ],
    )
    def test_what_the_script_cannot_help_does_not_count_as_its_crash(self, code: int) -> None:
        scene = Scene(failurePolicy={"backoffLimit": 0}).started()
        for rank in range(3):
            scene.ends(rank, code)
        scene.wait(1).read().settle()
        assert (scene.doing, scene.generation) == ("Running", 2)
        assert scene.record
        assert (scene.record.crashes, scene.record.disruptions) == (0, 1)

    def test_a_crash_while_the_plan_was_out_of_date_is_the_databases_fault(self) -> None:
        scene = Scene(failurePolicy={"backoffLimit": 0}).started()
        for rank in range(3):
            scene.ends(rank, 1)
        scene.wait(1).read("ab").settle()
        assert (scene.doing, scene.generation) == ("Running", 2)

    def test_disruptions_without_a_new_commit_are_limited(self) -> None:
        scene = Scene(failurePolicy={"disruptionLimit": 1}).started()
        for _ in range(2):
            for rank in range(3):
                scene.ends(rank, ExitCode.DATABASE_UNAVAILABLE)
            scene.wait(1).read().settle()
        assert scene.condition("Failed").reason is Reason.DISRUPTION_LIMIT_EXCEEDED

    def test_a_new_commit_forgives_disruptions(self) -> None:
        scene = Scene(failurePolicy={"disruptionLimit": 1}).started()
        for step in range(1, 5):
            scene.commits(step)
            for rank in range(3):
                scene.ends(rank, ExitCode.DATABASE_UNAVAILABLE)
            scene.wait(1).read().settle()
            assert scene.doing == "Running"

    def test_a_vanished_rank_is_a_disruption(self) -> None:
        scene = Scene().started().vanishes(1).wait(1).tick(2).wait(5).read().settle()
        assert (scene.doing, scene.generation) == ("Running", 2)
        assert scene.record
        assert scene.record.disruptions == 1

    def test_fewer_rows_than_first_counted_fail_with_both_numbers(self) -> None:
        scene = Scene().started().read(rows=41).settle()
        assert scene.doing == "Running"
        assert scene.condition("TopologyResolved").reason is Reason.ROWS_MISSING
        scene.again(4).settle()
        assert scene.condition("Failed").reason is Reason.DATA_LOST
        message = scene.condition("Failed").message
        assert "41 rows" in message
        assert "had 60" in message

    def test_one_low_count_alone_ends_nothing(self) -> None:
        scene = Scene().started().read(rows=41).settle().wait(9).read(rows=60).settle()
        assert scene.doing == "Running"
        assert scene.condition("TopologyResolved").status == "True"

    def test_with_rows_missing_nothing_is_started_again(self) -> None:
        scene = Scene().started()
        for rank in range(3):
            scene.ends(rank, 75)
        assert scene.wait(1).read(rows=41).settle().doing == "Waiting: RowsMissing"

    def test_rows_are_not_counted_while_shards_move(self) -> None:
        assert Scene().started().read(rows=41, moving=[0]).settle().doing == "Running"

    def test_a_table_that_may_change_may_shrink(self) -> None:
        scene = Scene(data={"ignite": {"endpoints": ["h:1"], "cache": "T"}, "onChange": "Continue"})
        assert scene.started().read(rows=41).settle().doing == "Running"


class TestDeadlines:
    def test_the_start_deadline_says_what_it_was_waiting_for(self) -> None:
        scene = Scene(startDeadlineSeconds=30).cannot_read().tick()
        assert scene.decide().requeue_after == 30
        scene.wait(30).tick()
        assert scene.condition("Failed").reason is Reason.START_DEADLINE_EXCEEDED
        assert "no endpoint answers" in scene.condition("Failed").message

    def test_a_running_job_has_met_its_start_deadline(self) -> None:
        assert Scene(startDeadlineSeconds=30).started().wait(100).settle().doing == "Running"

    def test_the_active_deadline_does_not_count_suspension(self) -> None:
        scene = Scene(activeDeadlineSeconds=100).started().wait(90).suspend().settle()
        scene.wait(900).suspend(False).read().settle()
        assert scene.doing == "Running"
        scene.wait(100).settle()
        assert scene.condition("Failed").reason is Reason.ACTIVE_DEADLINE_EXCEEDED

    def test_a_script_that_never_takes_a_step_fails_in_time(self) -> None:
        scene = Scene(failurePolicy={"firstStepDeadlineSeconds": 60}).started()
        scene.reports(Progress()).wait(60).settle()
        assert scene.condition("Failed").reason is Reason.FIRST_STEP_DEADLINE_EXCEEDED

    def test_a_script_that_took_a_step_has_time(self) -> None:
        scene = Scene(failurePolicy={"firstStepDeadlineSeconds": 60}).started()
        scene.reports(Progress(state="training", step=1), 0).wait(999).settle()
        assert scene.doing == "Running"

    def test_silence_is_no_proof_of_an_idle_script(self) -> None:
        scene = Scene(failurePolicy={"firstStepDeadlineSeconds": 60}).started()
        assert scene.wait(999).settle().doing == "Running"


class TestTopologyChanges:
    def test_a_lost_node_stops_the_ranks_and_plans_anew(self) -> None:
        scene = Scene().started().wait(9).read("ac").tick()
        stop = next(a for a in scene.actions if isinstance(a, StopWorkers))
        assert "database node b (rank 1) went away" in stop.why
        scene.settle().again().settle()
        assert (scene.doing, scene.generation, len(scene.workers)) == ("Running", 2, 2)

    def test_a_node_that_came_changes_nothing(self) -> None:
        scene = Scene().started()
        found = topology()
        newcomer = DatabaseNode(NodeId("d"), "host-d", 10800)
        joined = replace(found, nodes=(*found.nodes, newcomer), version="another")
        assert scene.read_as(joined).settle().generation == 1

    def test_shards_that_lost_their_owner_wait_for_the_others_to_settle(self) -> None:
        scene = Scene().started()
        moved = topology("abc", all_nodes="bca", moving=[5])
        scene.read_as(moved).tick()
        assert scene.condition("TopologyResolved").reason is Reason.SHARDS_MOVING
        assert scene.did(StopWorkers) == 0
        scene.read_as(topology("abc", all_nodes="bca", backups=0)).tick()
        assert scene.did(StopWorkers) == 1

    def test_a_dead_node_is_not_waited_for_while_backups_fill(self) -> None:
        scene = Scene().started().read("ac", moving=[1, 2]).tick()
        assert scene.did(StopWorkers) == 1

    def test_with_a_lost_shard_the_ranks_go_on_and_it_is_said(self) -> None:
        scene = Scene().started().read("ac", backups=0).settle()
        assert scene.did(StopWorkers) == 0
        assert scene.condition("TopologyResolved").reason is Reason.PARTITIONS_LOST

    def test_unknown_is_never_failed(self) -> None:
        scene = Scene().started().cannot_read().wait(9999).settle()
        assert scene.doing == "Running"
        assert scene.condition("TopologyResolved").status == "Unknown"
        assert "plan of generation 1" in scene.condition("TopologyResolved").message

    def test_ignore_leaves_running_ranks_alone_but_a_restart_plans_anew(self) -> None:
        scene = Scene(placement={"onTopologyChange": "Ignore"}).started().read("ac").settle()
        assert scene.generation == 1
        for rank in range(3):
            scene.ends(rank, ExitCode.DATABASE_UNAVAILABLE)
        scene.wait(1).read("ac").settle()
        assert (scene.generation, len(scene.workers)) == (2, 2)

    def test_fail_ends_the_job(self) -> None:
        scene = Scene(placement={"onTopologyChange": "Fail"}).started().read("ac").settle()
        assert scene.condition("Failed").reason is Reason.TOPOLOGY_CHANGED
        assert "database node b (rank 1) went away" in scene.condition("Failed").message


class TestSuspension:
    def test_ranks_leave_and_nothing_is_counted(self) -> None:
        scene = Scene().started().suspend().tick()
        assert scene.doing == "Stopping"
        scene.settle()
        assert scene.doing == "Suspended"
        assert not scene.workers
        scene.wait(5).suspend(False).read().settle()
        assert (scene.doing, scene.generation) == ("Running", 2)
        assert scene.job.status.restarts == 0

    def test_a_suspended_job_never_starts(self) -> None:
        scene = Scene(suspend=True).read().settle()
        assert not scene.actions
        assert scene.condition("Suspended").status == "True"
        assert scene.condition("Reconciling").status == "False"
        assert scene.job.status.start_time is None

    def test_waiting_places_are_taken_away(self) -> None:
        scene = Scene().read().tick().suspend().settle()
        assert not scene.workers

    def test_a_job_that_completes_while_it_is_suspended_is_complete(self) -> None:
        scene = Scene().started().suspend().tick()
        scene.leaves_with = 0
        assert scene.settle().doing == "Complete"
        assert scene.did(DeleteWorkers) == 0


class TestRefusal:
    def test_what_no_right_can_mend_is_said_once_and_rests(self) -> None:
        scene = Scene().read()
        observed = replace(scene.observed(), refused="the plan is too large", refused_for_good=True)
        decision = reconcile(observed, scene.now)
        stalled = decision.status.condition(ConditionType.STALLED)
        assert decision.requeue_after is None
        assert stalled
        assert (stalled.status, stalled.message) == ("True", "the plan is too large")

    def test_what_the_api_server_refused_is_tried_again(self) -> None:
        scene = Scene().read()
        decision = reconcile(replace(scene.observed(), refused="quota exceeded"), scene.now)
        assert decision.requeue_after == REFUSED_SECONDS
