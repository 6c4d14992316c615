"""Which changes in a cluster mark a job, and which are noise."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest

from insitu_operator.shell.key import Key
from insitu_operator.shell.watching.endpoints import Service
from insitu_operator.shell.watching.sight import Interest, Sight

Json = dict[str, Any]
DIGITS = Key("ml", "digits")


@dataclass
class Marked:
    keys: list[tuple[str, bool]] = field(default_factory=list)
    later: list[str] = field(default_factory=list)

    def add(self, key: Key, *, urgent: bool) -> None:
        self.keys.append((key.name, urgent))

    def add_after(self, key: Key, _seconds: float) -> None:
        self.later.append(key.name)

    def take(self) -> list[tuple[str, bool]]:
        taken, self.keys = self.keys, []
        return taken


class World:
    """A Sight, what it marks, and the Services it tells of."""

    def __init__(self) -> None:
        self.marked = Marked()
        self.services: list[tuple[str, str]] = []
        self.relists = 0
        self.sight = Sight(self.marked, lambda *service: self.services.append(service), self.count)

    def count(self) -> None:
        self.relists += 1

    def with_job(self, **changes: Any) -> World:
        self.sight.training_job("ADDED", job(**changes))
        self.marked.take()
        return self


@pytest.fixture
def world() -> World:
    return World()


def job(name: str = "digits", *, version: int = 1, generation: int = 1, **rest: Any) -> Json:
    metadata = {"namespace": "ml", "name": name, "uid": f"uid-{name}", "generation": generation}
    uid = {"uid": rest.pop("uid")} if "uid" in rest else {}
    return {"metadata": metadata | uid | {"resourceVersion": str(version)}, "spec": {}, **rest}


def pod(
    rank: int = 0, *, generation: int = 1, gated: bool = False, version: int = 1, **status: Any
) -> Json:
    gates = {"schedulingGates": [{"name": "insitu.dev/placement"}]} if gated else {}
    return {
        "metadata": {
            "namespace": "ml",
            "name": f"digits-g{generation}-{rank}",
            "uid": f"pod-{generation}-{rank}",
            "resourceVersion": str(version),
            "labels": {
                "insitu.dev/job": "digits",
                "insitu.dev/job-uid": "uid-digits",
                "insitu.dev/generation": str(generation),
            },
            "annotations": {"batch.kubernetes.io/job-completion-index": str(rank)},
        },
        "spec": gates,
        "status": {"phase": "Pending", **status},
    }


def node(name: str, *, ready: str = "True", heard: str = "now", version: int = 1) -> Json:
    condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": heard}
    metadata = {"name": name, "uid": f"node-{name}", "resourceVersion": str(version)}
    return {"metadata": metadata, "status": {"conditions": [condition]}}


def piece(
    address: str = "10.0.0.1", *, ready: bool = True, name: str = "s1", version: int = 1
) -> Json:
    return {
        "metadata": {
            "namespace": "ml",
            "name": name,
            "uid": f"slice-{name}",
            "resourceVersion": str(version),
            "labels": {"kubernetes.io/service-name": "ignite"},
        },
        "ports": [{"name": "", "port": 10800}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}],
    }


def test_a_new_job_is_urgent(world: World) -> None:
    world.sight.training_job("ADDED", job())
    assert world.marked.take() == [("digits", True)]


def test_a_job_of_a_list_is_urgent_only_when_nobody_has_looked_at_it(world: World) -> None:
    world.sight.training_job(None, job("old", status={"conditions": []}))
    world.sight.training_job(None, job("new"))
    assert world.marked.take() == [("old", False), ("new", True)]


def test_what_we_wrote_ourselves_comes_back_as_noise(world: World) -> None:
    world.with_job()
    world.sight.training_job("MODIFIED", job(version=2, status={"generation": 1}))
    assert world.marked.take() == []
    assert world.sight.job(DIGITS) == job(version=2, status={"generation": 1})


@pytest.mark.parametrize("change", [{"generation": 2}, {"uid": "another"}])
def test_another_spec_or_another_job_of_the_name_is_news(
    world: World, change: dict[str, Any]
) -> None:
    world.with_job()
    world.sight.training_job("MODIFIED", job(version=2, **change))
    assert world.marked.take() == [("digits", True)]


def test_a_version_that_comes_late_is_not_believed(world: World) -> None:
    world.with_job(version=5)
    world.sight.read(job(version=9, status={"generation": 1}))
    world.sight.training_job("MODIFIED", job(version=7))
    assert world.sight.job(DIGITS) == job(version=9, status={"generation": 1})


def test_a_job_that_was_deleted_is_not_brought_back_by_an_answer(world: World) -> None:
    world.with_job()
    world.sight.training_job("DELETED", job(version=2))
    assert world.marked.take() == [("digits", True)]
    world.sight.read(job(version=2, status={"generation": 1}))
    assert world.sight.job(DIGITS) is None


@pytest.mark.parametrize(
    "noise",
    [
        {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]},
        {"podIP": "10.1.2.3"},
    ],
)
def test_health_and_addresses_of_a_pod_are_noise(world: World, noise: dict[str, Any]) -> None:
    world.with_job().sight.pod("ADDED", pod())
    world.marked.take()
    world.sight.pod("MODIFIED", pod(**noise))
    assert world.marked.take() == []


@pytest.mark.parametrize(
    "news",
    [
        {"phase": "Running"},
        {"reason": "Evicted"},
        {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]},
        {"conditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"containerStatuses": [{"name": "t", "state": {"waiting": {"reason": "ErrImagePull"}}}]},
    ],
)
def test_what_a_pod_does_and_why_it_cant_is_news(world: World, news: dict[str, Any]) -> None:
    world.with_job().sight.pod("ADDED", pod())
    world.marked.take()
    world.sight.pod("MODIFIED", pod(**news))
    assert world.marked.take() == [("digits", True)]


def test_the_next_try_to_pull_an_image_is_noise(world: World) -> None:
    def pulling(reason: str, message: str) -> dict[str, Any]:
        waiting = {"waiting": {"reason": reason, "message": message}}
        return pod(containerStatuses=[{"name": "t", "state": waiting}])

    world.with_job().sight.pod("ADDED", pulling("ErrImagePull", "not found"))
    world.marked.take()
    again = 'Back-off pulling image "a:1": ErrImagePull: not found'
    world.sight.pod("MODIFIED", pulling("ImagePullBackOff", again))
    assert world.marked.take() == []


def test_the_scheduler_says_nothing_new_about_a_gated_pod(world: World) -> None:
    world.with_job().sight.pod("ADDED", pod(gated=True))
    world.marked.take()
    told = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]
    world.sight.pod("MODIFIED", pod(gated=True, conditions=told))
    assert world.marked.take() == []


def test_what_leads_from_a_binding_to_a_container_is_noise(world: World) -> None:
    world.with_job().sight.pod("ADDED", pod(gated=True))
    world.marked.take()
    placed: dict[str, Any] = {"conditions": [{"type": "PodScheduled", "status": "True"}]}
    preparing = {"name": "trainer", "state": {"waiting": {"reason": "ContainerCreating"}}}
    for way in (pod(), pod(**placed), pod(**placed, containerStatuses=[preparing])):
        world.sight.pod("MODIFIED", way)
    assert world.marked.take() == []


def test_a_gate_of_somebody_else_is_news(world: World) -> None:
    world.with_job().sight.pod("ADDED", pod())
    world.marked.take()
    held = pod()
    held["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    world.sight.pod("MODIFIED", held)
    assert world.marked.take() == [("digits", True)]


def test_pods_that_begin_to_run_mark_their_job_when_the_last_does(world: World) -> None:
    running: dict[str, Any] = {
        "phase": "Running",
        "containerStatuses": [{"name": "trainer", "state": {"running": {}}}],
    }
    world.with_job()
    for rank in range(3):
        world.sight.pod("ADDED", pod(rank))
    world.marked.take()
    for rank in range(2):
        world.sight.pod("MODIFIED", pod(rank, **running))
    assert (world.marked.take(), world.marked.later) == ([], ["digits", "digits"])
    world.sight.pod("MODIFIED", pod(2, **running))
    assert world.marked.take() == [("digits", True)]


def test_expected_pods_mark_their_job_when_the_last_has_come(world: World) -> None:
    world.with_job().sight.expect("uid-digits", 2, 3)
    world.sight.pod("ADDED", pod(7, generation=1))
    for rank in range(2):
        world.sight.pod("ADDED", pod(rank, generation=2, gated=True))
    assert world.marked.take() == []
    world.sight.pod("ADDED", pod(2, generation=2, gated=True))
    assert world.marked.take() == [("digits", True)]


def test_a_pod_of_an_earlier_job_of_the_name_is_nobodys(world: World) -> None:
    world.with_job(uid="another")
    world.sight.pod("ADDED", pod())
    assert world.marked.take() == []
    assert world.sight.trainer("pod-1-0") is None


def test_a_trainer_is_known_by_its_pod_while_pod_and_job_exist(world: World) -> None:
    world.with_job().sight.pod("ADDED", pod(3))
    trainer = world.sight.trainer("pod-1-3")
    assert trainer is not None
    assert (trainer.key, trainer.generation, trainer.rank) == (DIGITS, 1, 3)
    world.sight.pod("DELETED", pod(3))
    assert world.sight.trainer("pod-1-3") is None


def test_a_machine_is_news_for_jobs_that_run_on_it_or_wait_for_any(world: World) -> None:
    world.sight.node(None, node("a"))
    world.sight.watch_for(Key("ml", "on-a"), Interest(frozenset("a")))
    world.sight.watch_for(Key("ml", "on-b"), Interest(frozenset("b")))
    world.sight.watch_for(Key("ml", "waits"), Interest(None))
    world.sight.node("MODIFIED", node("a", heard="later"))
    assert world.marked.take() == []
    world.sight.node("MODIFIED", node("a", ready="Unknown"))
    assert world.marked.take() == [("on-a", False), ("waits", False)]


def test_endpoints_are_news_for_the_jobs_of_their_service(world: World) -> None:
    world.sight.watch_for(Key("ml", "mine"), Interest(frozenset(), Service("ml", "ignite")))
    world.sight.watch_for(Key("ml", "other"), Interest(frozenset(), Service("ml", "else")))
    world.sight.endpoint_slice("ADDED", piece())
    world.sight.endpoint_slice("MODIFIED", copy.deepcopy(piece()))
    assert world.marked.take() == [("mine", True)]
    world.sight.endpoint_slice("MODIFIED", piece(ready=False))
    world.sight.endpoint_slice("DELETED", piece())
    assert world.services == [("ml", "ignite")] * 3
    assert world.sight.slices("ml", "ignite") == ()


def test_a_list_marks_only_what_differs_and_what_is_gone(world: World) -> None:
    world.with_job().with_job(name="gone")
    for rank in range(2):
        world.sight.pod("ADDED", pod(rank))
    world.sight.node("ADDED", node("a"))
    world.sight.endpoint_slice("ADDED", piece())
    world.marked.take()
    same = {"jobs": [job()], "nodes": [node("a")], "slices": [piece()]}
    world.sight.compare(world.sight.known(), pods=[pod(0), pod(1)], **same)
    assert world.marked.take() == [("gone", True)]
    world.sight.compare(world.sight.known(), pods=[pod(0)], **same)
    assert world.marked.take() == [("digits", True)]
    world.sight.compare(world.sight.known(), jobs=[], pods=[], nodes=[], slices=[])
    assert not world.sight.jobs
    assert not world.sight.nodes


def test_what_came_while_the_lists_were_read_is_not_missed_in_them(world: World) -> None:
    known = world.sight.known()
    world.sight.training_job("ADDED", job())
    world.sight.pod("ADDED", pod())
    world.sight.compare(known, jobs=[], pods=[], nodes=[], slices=[])
    assert world.sight.job(DIGITS) == job()
    assert world.sight.trainer("pod-1-0") is not None


def test_what_was_deleted_while_the_lists_were_read_stays_deleted(world: World) -> None:
    world.with_job()
    known = world.sight.known()
    world.sight.training_job("DELETED", job())
    world.sight.compare(known, jobs=[job()], pods=[], nodes=[], slices=[])
    assert world.sight.job(DIGITS) is None


def test_a_list_that_was_read_slowly_turns_nothing_back(world: World) -> None:
    world.with_job().sight.node("ADDED", node("a", ready="False"))
    known = world.sight.known()
    world.sight.node("MODIFIED", node("a", version=2))
    world.sight.endpoint_slice("ADDED", piece("10.0.0.2", version=2))
    world.sight.pod("ADDED", pod(version=2, phase="Running"))
    world.marked.take()
    stale = {"nodes": [node("a", ready="False")], "slices": [piece()], "pods": [pod()]}
    world.sight.compare(known, jobs=[job()], **stale)
    assert world.sight.nodes["a"].ready
    assert world.sight.slices("ml", "ignite") == (piece("10.0.0.2", version=2),)
    assert world.marked.take() == []


def test_what_of_any_kind_was_deleted_meanwhile_is_not_brought_back_by_a_list(world: World) -> None:
    world.with_job()
    known = world.sight.known()
    for tell, body in (
        (world.sight.node, node("a")),
        (world.sight.endpoint_slice, piece()),
        (world.sight.pod, pod()),
    ):
        tell("ADDED", body)
        tell("DELETED", body)
    world.sight.compare(known, jobs=[job()], nodes=[node("a")], slices=[piece()], pods=[pod()])
    assert not world.sight.nodes
    assert not world.sight.slices("ml", "ignite")
    assert world.sight.trainer("pod-1-0") is None


def test_a_watch_that_begins_anew_asks_for_a_comparison_and_a_comparison_does_not(
    world: World,
) -> None:
    world.sight.training_job(None, job())
    assert world.relists == 1
    world.sight.compare(world.sight.known(), jobs=[job()], pods=[pod()], nodes=[], slices=[])
    assert world.relists == 1
