"""What a pod says about its rank."""

from __future__ import annotations

from datetime import timedelta

import pytest

from insitu.progress import Heartbeat, Progress
from insitu_operator.core.objects.machines import NodeState
from insitu_operator.core.objects.names import GATE
from insitu_operator.core.objects.owners import Json
from insitu_operator.core.objects.pods import PodTimes, is_ours, worker
from insitu_operator.core.observed import State, Worker
from tests.unit.pod_builders import (
    NOW,
    asked_to_leave,
    blocked,
    condition,
    ended,
    gated,
    node,
    pod,
    running,
    states,
)

NODES = states(node("node-1"), node("node-2", ready="Unknown"))


def seen(
    thing: Json, nodes: dict[str, NodeState] = NODES, heartbeat: Heartbeat | None = None
) -> Worker:
    found = worker(thing, nodes, heartbeat, NOW, PodTimes(leaving=asked_to_leave(thing)))
    assert found is not None
    return found


class TestWaiting:
    def test_a_pod_with_our_gate_waits_for_its_own_generation(self) -> None:
        assert seen(gated(2, generation=3)) == Worker(2, State.WAITING, 3)

    def test_a_queues_gate_beside_ours_changes_nothing(self) -> None:
        assert seen(pod(gates=["kueue.x-k8s.io/admission", GATE])).state is State.WAITING

    def test_once_bound_a_queues_gate_is_what_it_waits_for(self) -> None:
        found = seen(pod(gates=["kueue.x-k8s.io/admission"]))
        assert found.state is State.STARTING
        assert found.reason == "held by the scheduling gate kueue.x-k8s.io/admission"

    def test_a_gated_pod_that_is_going_away_is_nobodys_place(self) -> None:
        assert worker(gated(leaving=0), NODES, None, NOW) is None


class TestStarting:
    def test_the_schedulers_words_are_passed_on(self) -> None:
        why = condition("PodScheduled", "False", "Unschedulable", "0/3 nodes: Insufficient cpu.")
        found = seen(pod(conditions=[why]))
        assert found.state is State.STARTING
        assert found.reason == "Unschedulable: 0/3 nodes: Insufficient cpu."

    def test_the_schedulers_old_word_about_our_gate_says_nothing(self) -> None:
        why = condition("PodScheduled", "False", "SchedulingGated", "Scheduling is blocked")
        assert seen(pod(conditions=[why])).reason == ""

    @pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull"])
    def test_an_image_that_cannot_be_pulled_is_named(self, reason: str) -> None:
        found = seen(blocked(reason, "not found"))
        assert found.state is State.STARTING
        assert found.reason == f"image trainer:1 can't be pulled ({reason}): not found"

    def test_an_image_that_is_tried_again_and_again_is_said_in_the_same_words(self) -> None:
        tries = seen(blocked("ErrImagePull", "not found"))
        waits = seen(
            blocked("ImagePullBackOff", 'Back-off pulling image "a:1": ErrImagePull: not found')
        )
        assert tries.reason == waits.reason == "image trainer:1 can't be pulled: not found"
        older = seen(blocked("ImagePullBackOff", 'Back-off pulling image "a:1"'))
        assert older.reason == "image trainer:1 can't be pulled"

    def test_a_missing_key_is_named(self) -> None:
        found = seen(blocked("CreateContainerConfigError", "couldn't find key password in Secret"))
        assert "CreateContainerConfigError" in found.reason
        assert "couldn't find key password" in found.reason

    def test_a_container_in_the_making_says_what_it_needs(self) -> None:
        thing = blocked("ContainerCreating")
        thing["spec"]["volumes"] = [{"name": "source", "configMap": {"name": "code"}}]
        assert seen(thing).reason == (
            "the container is being created, with image trainer:1, ConfigMap code"
        )


class TestRunning:
    def test_a_pod_whose_container_runs_runs(self) -> None:
        found = seen(running(1))
        assert (found.state, found.machine) == (State.RUNNING, "node-1")
        assert not found.heard

    def test_a_heartbeat_brings_its_progress(self) -> None:
        beat = Heartbeat(job="digits", generation=1, rank=0, progress=Progress(step=7))
        found = seen(running(), heartbeat=beat)
        assert found.heard
        assert found.progress == Progress(step=7)

    def test_silence_of_its_machine_is_told_and_is_no_failure(self) -> None:
        found = seen(running(node="node-2"))
        assert (found.state, found.disrupted) == (State.RUNNING, False)
        assert found.reason == "node node-2 does not answer"


SIDECARS: dict[str, Json] = {
    "runs": {"running": {"startedAt": "2026-01-01T11:00:00Z"}},
    "ended well": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T11:59:55Z"}},
    "was killed": {"terminated": {"exitCode": 137, "finishedAt": "2026-01-01T11:59:55Z"}},
}


def with_sidecar(thing: Json, state: Json, phase: str) -> Json:
    """The pod with a container that a webhook put before the trainer's."""
    thing["spec"]["containers"].insert(0, {"name": "istio-proxy", "image": "proxy:1"})
    thing["status"]["containerStatuses"].insert(0, {"name": "istio-proxy", "state": state})
    thing["status"]["phase"] = phase
    return thing


class TestSidecar:
    """Only the trainer's own container says how its rank is, wherever it stands in the list."""

    @pytest.mark.parametrize("state", SIDECARS.values(), ids=SIDECARS)
    def test_a_trainer_that_runs_runs(self, state: Json) -> None:
        found = seen(with_sidecar(running(), state, "Running"))
        assert (found.state, found.lingering) == (State.RUNNING, False)

    @pytest.mark.parametrize("code", [0, 1])
    def test_the_trainers_end_is_seen_while_the_sidecar_runs(self, code: int) -> None:
        found = seen(with_sidecar(ended(code, memory="1Gi"), SIDECARS["runs"], "Running"))
        assert found.state is (State.FAILED if code else State.SUCCEEDED)
        assert (found.exit_code, found.disrupted, found.lingering) == (code, False, True)

    @pytest.mark.parametrize(
        ("code", "sidecar", "phase"),
        [(0, "was killed", "Failed"), (1, "ended well", "Failed"), (0, "ended well", "Succeeded")],
    )
    def test_the_sidecars_end_changes_nothing(self, code: int, sidecar: str, phase: str) -> None:
        found = seen(with_sidecar(ended(code), SIDECARS[sidecar], phase))
        assert found.state is (State.FAILED if code else State.SUCCEEDED)
        assert (found.exit_code, found.lingering) == (code, False)

    def test_the_trainers_own_image_is_named(self) -> None:
        thing = with_sidecar(blocked("ErrImagePull", "not found"), SIDECARS["runs"], "Pending")
        assert seen(thing).reason == "image trainer:1 can't be pulled: not found"


class TestEnded:
    def test_success_is_success(self) -> None:
        found = seen(ended(0, "Completed"))
        assert (found.state, found.exit_code, found.reason) == (State.SUCCEEDED, 0, "")

    def test_a_crash_has_its_code_its_time_and_its_last_lines(self) -> None:
        found = seen(ended(1, message="Traceback\nValueError: bad\n"))
        assert (found.state, found.exit_code, found.disrupted) == (State.FAILED, 1, False)
        assert found.last_lines == ("Traceback", "ValueError: bad")
        assert found.ended_at == NOW

    def test_the_supervisors_last_lines_are_the_better_ones(self) -> None:
        beat = Heartbeat(job="digits", generation=1, rank=0, exit_code=1, last_lines=("boom",))
        assert seen(ended(1, message="cut off"), heartbeat=beat).last_lines == ("boom",)

    def test_memory_that_ran_out_is_said_with_its_limit(self) -> None:
        found = seen(ended(137, "OOMKilled", memory="2Gi"))
        assert found.reason == "it needed more memory than its limit, 2Gi"
        assert seen(ended(137, "OOMKilled")).reason == "its node ran out of memory"

    def test_a_command_that_is_not_in_the_image_is_named(self) -> None:
        found = seen(ended(128, "StartError", 'exec: "insitu-run": not found'))
        assert found.reason == 'StartError: exec: "insitu-run": not found'
        assert (found.last_lines, found.exit_code) == ((), 128)

    @pytest.mark.parametrize("reason", ["Evicted", "NodeShutdown", "Terminated", "OutOfcpu"])
    def test_what_the_kubelet_did_is_a_disruption(self, reason: str) -> None:
        found = seen(pod(phase="Failed", node="node-1", reason=reason, message="low on disk"))
        assert (found.state, found.disrupted) == (State.FAILED, True)
        assert found.reason == f"{reason} on node-1: low on disk"

    def test_a_failure_without_a_container_is_a_disruption(self) -> None:
        assert seen(pod(phase="Failed", node="node-1")).disrupted

    def test_the_container_is_believed_before_the_phase_follows(self) -> None:
        assert seen(ended(1, phase="Running")).state is State.FAILED


class TestLeaving:
    def test_who_was_asked_to_leave_lives_until_it_has_left(self) -> None:
        found = seen(running(leaving=50))
        assert (found.state, found.stopping, found.disrupted) == (State.RUNNING, True, False)
        assert found.lost_at == NOW + timedelta(seconds=60)

    def test_its_exit_code_means_nothing(self) -> None:
        found = seen(ended(79, leaving=50))
        assert (found.state, found.stopping) == (State.FAILED, True)
        assert found.lost_at is None

    @pytest.mark.parametrize(
        ("reason", "words"),
        [
            ("EvictionByEvictionAPI", "evicted from node-1: drained"),
            ("DeletionByTaintManager", "driven out by a taint of node-1: drained"),
            ("PreemptionByScheduler", "made way for a pod of higher priority on node-1: drained"),
        ],
    )
    def test_an_eviction_is_a_disruption_while_it_leaves_and_after(
        self, reason: str, words: str
    ) -> None:
        why = [condition("DisruptionTarget", "True", reason, "drained")]
        leaving, left = running(leaving=50, conditions=why), ended(79, leaving=50, conditions=why)
        for thing, state in ((leaving, State.RUNNING), (left, State.FAILED)):
            found = seen(thing)
            assert (found.state, found.disrupted, found.stopping) == (state, True, False)
            assert found.reason == words

    def test_on_a_machine_that_nobody_hears_of_it_is_lost(self) -> None:
        found = seen(running(node="node-2", leaving=50))
        assert (found.state, found.disrupted) == (State.FAILED, True)
        assert found.reason == "node node-2 does not answer"

    def test_on_a_machine_that_is_gone_it_is_lost(self) -> None:
        assert seen(running(node="node-9", leaving=50)).reason == "node node-9 is gone"

    def test_ten_seconds_after_its_time_it_is_lost(self) -> None:
        assert seen(running(leaving=-9)).living
        found = seen(running(leaving=-10))
        assert (found.state, found.disrupted) == (State.FAILED, True)


class TestWhose:
    def test_a_rank_is_ours(self) -> None:
        assert is_ours(running())

    @pytest.mark.parametrize(
        "owner",
        [
            {"kind": "Job", "name": "another", "controller": True},
            {"kind": "ReplicaSet", "name": "digits-g1", "controller": True},
            {"kind": "Job", "name": "digits-g1"},
        ],
    )
    def test_labels_alone_prove_nothing(self, owner: Json) -> None:
        thing = running()
        thing["metadata"]["ownerReferences"] = [owner]
        assert not is_ours(thing)

    @pytest.mark.parametrize("part", ["labels", "annotations"])
    def test_a_pod_without_its_marks_is_not_ours(self, part: str) -> None:
        thing = running()
        del thing["metadata"][part]
        assert not is_ours(thing)
