"""What the simulator takes from Kubernetes, so that it tells no lies about the operator."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from insitu_operator.core.objects.names import GATE, HOSTNAME, INDEX
from tests.simulator.collector import Collector
from tests.simulator.job_controller import JobController
from tests.simulator.kubelet import Kubelet
from tests.simulator.scheduler import Scheduler
from tests.simulator.server import Refused, Request, Server
from tests.simulator.store import Id, Json, Store
from tests.simulator.trainers import Training

JOBS, PODS = "/apis/batch/v1/namespaces/ml/jobs", "/api/v1/namespaces/ml/pods"
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"


class Small:
    """A cluster of one machine, with room for two pods that ask for a CPU."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store = Store(lambda: self.now)
        self.server = Server(self.store)
        training = Training(lambda _pod, _told: None, lambda _job: 3, lambda _pod: 1, self._clock)
        self.parts = (
            JobController(self.store),
            Scheduler(self.store, random.Random(0)),
            Kubelet(self.store, training),
            Collector(self.store),
        )
        labels = {HOSTNAME: "host-0"}
        machine = {"metadata": {"labels": labels}, "status": {"allocatable": {"cpu": "2"}}}
        self.store.add(Id("nodes", "", "machine-0"), machine)

    def _clock(self) -> float:
        return self.now

    def ask(self, verb: str, path: str, body: Json | None = None, content: str = MERGE) -> Json:
        return self.server.answer(Request(verb, path, {}, body or {}, content))

    def job(self, ranks: int = 1) -> Json:
        labels = {
            "insitu.dev/managed": "true",
            "insitu.dev/job": "digits",
            "insitu.dev/job-uid": "u",
            "insitu.dev/generation": "1",
        }
        container = {"name": "trainer", "resources": {"requests": {"cpu": "1"}}}
        template = {
            "metadata": {"labels": labels},
            "spec": {"schedulingGates": [{"name": GATE}], "containers": [container]},
        }
        spec = {"completions": ranks, "parallelism": ranks, "template": template}
        return self.ask("create", JOBS, {"metadata": {"name": "digits-g1"}, "spec": spec})

    def pass_seconds(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.125
            for part in self.parts:
                part.live()

    @property
    def pods(self) -> list[Json]:
        return self.store.of("pods")

    def bind(self, pod: Json) -> Json:
        return self.ask("patch", f"{PODS}/{pod['metadata']['name']}", binding(pod), STRATEGIC)


def binding(pod: Json) -> Json:
    return {
        "metadata": {"uid": pod["metadata"]["uid"]},
        "spec": {
            "nodeSelector": {HOSTNAME: "host-0"},
            "schedulingGates": [{"$patch": "delete", "name": GATE}],
        },
    }


@pytest.fixture
def small() -> Small:
    return Small()


def refusal(request: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        request()
    return refused.value.status, refused.value.reason


def test_a_name_is_given_once(small: Small) -> None:
    small.job()
    assert refusal(small.job) == (409, "AlreadyExists")


def test_an_older_version_replaces_nothing(small: Small) -> None:
    maps = "/api/v1/namespaces/ml/configmaps"
    read = small.ask("create", maps, {"metadata": {"name": "plan"}, "data": {"a": "1"}})
    old = {**read, "metadata": dict(read["metadata"])}
    small.ask("update", f"{maps}/plan", {**old, "data": {"a": "2"}})
    again = {**old, "data": {"a": "3"}}
    assert refusal(lambda: small.ask("update", f"{maps}/plan", again)) == (409, "Conflict")


def test_a_patch_that_changes_nothing_makes_no_version(small: Small) -> None:
    version = small.job()["metadata"]["resourceVersion"]
    same = small.ask("patch", f"{JOBS}/digits-g1", {"spec": {"parallelism": 1}})
    assert same["metadata"]["resourceVersion"] == version


def test_a_status_that_the_definition_does_not_allow_is_refused(small: Small) -> None:
    path = "/apis/insitu.dev/v1alpha1/namespaces/ml/trainingjobs"
    data = {"ignite": {"endpoints": ["a:1"], "cache": "T"}}
    spec = {"data": data, "trainer": {"command": ["x"]}}
    small.ask("create", path, {"metadata": {"name": "digits"}, "spec": spec})
    for status in ({"restarts": -1}, {"restarts": "1"}, {"nodes": [{"rank": 2**64}]}):
        told = partial(small.ask, "patch", f"{path}/digits/status", {"status": status})
        assert refusal(told) == (422, "Invalid")


def test_a_job_has_a_gated_pod_for_each_index(small: Small) -> None:
    small.job(2)
    small.pass_seconds(5)
    assert [pod["metadata"]["annotations"][INDEX] for pod in small.pods] == ["0", "1"]
    assert [pod["status"]["phase"] for pod in small.pods] == ["Pending", "Pending"]
    assert [p["status"]["conditions"][0]["reason"] for p in small.pods] == ["SchedulingGated"] * 2


def test_a_pod_that_is_bound_stays_as_it_is(small: Small) -> None:
    small.job()
    small.pass_seconds(1)
    (pod,) = small.pods
    small.bind(pod)
    elsewhere = binding(pod)
    elsewhere["spec"]["nodeSelector"] = {HOSTNAME: "host-1"}
    path = f"{PODS}/{pod['metadata']['name']}"
    assert refusal(lambda: small.ask("patch", path, elsewhere, STRATEGIC)) == (422, "Invalid")


def test_a_binding_meant_for_another_pod_of_the_name_is_refused(small: Small) -> None:
    small.job()
    small.pass_seconds(1)
    (pod,) = small.pods
    meant = {**binding(pod), "metadata": {"uid": "another"}}
    path = f"{PODS}/{pod['metadata']['name']}"
    assert refusal(lambda: small.ask("patch", path, meant, STRATEGIC)) == (409, "Conflict")


def test_a_pod_runs_and_its_job_completes(small: Small) -> None:
    small.job()
    small.pass_seconds(1)
    small.bind(small.pods[0])
    small.pass_seconds(10)
    assert small.pods[0]["status"]["phase"] == "Succeeded"
    assert small.store.of("jobs")[0]["status"]["completionTime"]


def test_without_room_a_pod_waits_and_says_why(small: Small) -> None:
    small.job(3)
    small.pass_seconds(1)
    for pod in small.pods:
        small.bind(pod)
    small.pass_seconds(0.25)
    conditions = [pod["status"]["conditions"][0] for pod in small.pods]
    assert sorted(c["reason"] for c in conditions) == ["", "", "Unschedulable"]


def test_a_failed_pod_is_replaced_after_a_pause(small: Small) -> None:
    small.job()
    small.pass_seconds(1)
    small.bind(small.pods[0])
    small.pass_seconds(1)
    small.ask("delete", f"{PODS}/{small.pods[0]['metadata']['name']}")
    small.pass_seconds(5)
    assert not small.pods
    small.store.of("jobs")
    small.pass_seconds(10)
    assert [pod["status"]["phase"] for pod in small.pods] == ["Pending"]


def test_a_pod_on_its_way_out_keeps_its_place_until_it_has_ended(small: Small) -> None:
    small.job()
    small.pass_seconds(1)
    small.bind(small.pods[0])
    small.pass_seconds(1)
    small.ask("delete", f"{PODS}/{small.pods[0]['metadata']['name']}")
    small.pass_seconds(0.25)
    (pod,) = small.pods
    assert "deletionTimestamp" in pod["metadata"]
    assert pod["status"]["phase"] == "Running"


def test_a_gated_pod_that_is_deleted_stays_until_the_job_controller_lets_it_go(
    small: Small,
) -> None:
    small.job()
    small.pass_seconds(1)
    small.ask("patch", f"{JOBS}/digits-g1", {"spec": {"parallelism": 0}})
    small.pass_seconds(0.25)
    assert [("deletionTimestamp" in p["metadata"]) for p in small.pods] == [True]
    small.pass_seconds(25)
    assert not small.pods


def test_pods_go_with_their_job(small: Small) -> None:
    small.job(2)
    small.pass_seconds(1)
    small.bind(small.pods[0])
    small.pass_seconds(1)
    small.ask("delete", f"{JOBS}/digits-g1", {"propagationPolicy": "Background"})
    assert not small.store.of("jobs")
    assert len(small.pods) == 2
    small.pass_seconds(3)
    assert not small.pods


def test_in_the_foreground_a_job_waits_for_its_pods(small: Small) -> None:
    small.job()
    small.pass_seconds(1)
    small.bind(small.pods[0])
    small.pass_seconds(1)
    small.ask("delete", f"{JOBS}/digits-g1", {"propagationPolicy": "Foreground"})
    small.pass_seconds(0.125)
    assert "deletionTimestamp" in small.store.of("jobs")[0]["metadata"]
    small.pass_seconds(5)
    assert not small.store.of("jobs")
    assert not small.pods
