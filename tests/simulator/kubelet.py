"""The kubelets of all machines: pods start, are told to end, and end."""

from __future__ import annotations

from dataclasses import dataclass

from tests.simulator.store import Id, Json, Store
from tests.simulator.trainers import Trainer, Training

START_SECONDS = 0.6
"""From a machine to a running container."""


@dataclass
class _Sandbox:
    """What runs of a pod."""

    starts_at: float
    trainer: Trainer | None = None


class Kubelet:
    """Call `live` often.

    Args:
        store: Of the cluster.
        training: What runs in the containers.
    """

    def __init__(self, store: Store, training: Training) -> None:
        self._store = store
        self._training = training
        self._sandboxes: dict[str, _Sandbox] = {}

    def live(self) -> None:
        pods = [pod for pod in self._store.of("pods") if pod["spec"].get("nodeName")]
        for pod in pods:
            if pod["status"]["phase"] in ("Pending", "Running"):
                self._pod(pod)
        # What ended in this round is told in this round, in whatever order.
        here = {pod["metadata"]["uid"] for pod in pods}
        for uid in [uid for uid in self._sandboxes if uid not in here]:
            self._kill(uid)

    def evict(self, pod: Json) -> None:
        """By the kubelet, because the machine is short of something."""
        self._kill(pod["metadata"]["uid"])
        pod["status"] |= {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource: memory.",
            "containerStatuses": [],
        }
        self._store.touch(_id(pod))

    def _pod(self, pod: Json) -> None:
        metadata, now = pod["metadata"], self._store.seconds
        box = self._sandboxes.setdefault(metadata["uid"], _Sandbox(now + START_SECONDS))
        leaving = "deletionTimestamp" in metadata
        if box.trainer is None:
            if leaving:
                # It never came to run.
                self._end(pod, 137)
            elif now >= box.starts_at:
                box.trainer = self._training.start(pod)
                state = {"running": {"startedAt": self._store.now()}}
                self._tell(pod, "Running", state)
            return
        if leaving:
            box.trainer.leave(now)
        box.trainer.live(now)
        code = box.trainer.exit_code
        if code is None and leaving and self._store.now() >= metadata["deletionTimestamp"]:
            code = 137
        if code is not None:
            self._end(pod, code)

    def _end(self, pod: Json, code: int) -> None:
        running = _state(pod).get("running", {})
        terminated = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "startedAt": running.get("startedAt"),
            "finishedAt": self._store.now(),
        }
        self._kill(pod["metadata"]["uid"])
        self._tell(pod, "Failed" if code else "Succeeded", {"terminated": terminated})
        if "deletionTimestamp" in pod["metadata"]:
            pod["metadata"]["deletionGracePeriodSeconds"] = 0
            if not pod["metadata"].get("finalizers"):
                self._store.remove(_id(pod))

    def _kill(self, uid: str) -> None:
        box = self._sandboxes.pop(uid, None)
        if box and box.trainer:
            self._training.gone(box.trainer)

    def _tell(self, pod: Json, phase: str, state: Json) -> None:
        pod["status"]["phase"] = phase
        pod["status"]["containerStatuses"] = [
            {"name": "trainer", "state": state, "restartCount": 0, "ready": phase == "Running"}
        ]
        self._store.touch(_id(pod))


def _state(pod: Json) -> Json:
    for status in pod["status"].get("containerStatuses", ()):
        state: Json = status["state"]
        return state
    return {}


def _id(pod: Json) -> Id:
    return Id("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
