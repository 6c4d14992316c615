"""A TrainingJob in a cluster, as whoever submitted it follows it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any

from insitu_operator.core.objects.names import GENERATION, INDEX, JOB
from testbed.cluster import KubectlFailed
from tests.cluster.manifests import Space

PATIENCE_SECONDS = 240.0
"""A machine that other tests keep busy takes its time."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Submitted:
    """The job of this name."""

    space: Space
    name: str

    @property
    def body(self) -> Json:
        found: Json = json.loads(self.space.kubectl("get", "tjob", self.name, "-o", "json"))
        return found

    @property
    def status(self) -> Json:
        found: Json = self.body.get("status", {})
        return found

    @property
    def summary(self) -> str:
        """What `kubectl get` shows as its status."""
        return str(self.status.get("summary", {}).get("status", ""))

    def condition(self, kind: str) -> Json:
        """Empty while there is none."""
        return _condition(self.status, kind)

    def pods(self) -> dict[int, Json]:
        """By rank, those of the newest generation that has any."""
        found = self.space.pods(**{JOB: self.name})
        newest = max((_generation(pod) for pod in found), default=0)
        return {_rank(pod): pod for pod in found if _generation(pod) == newest}

    def machines(self) -> dict[int, str]:
        """By rank, of those that are bound."""
        specs = {rank: pod["spec"] for rank, pod in self.pods().items()}
        return {rank: spec["nodeName"] for rank, spec in specs.items() if "nodeName" in spec}

    def logs(self) -> dict[int, str]:
        """By rank."""
        pods = self.pods().items()
        return {rank: self.space.kubectl("logs", pod["metadata"]["name"]) for rank, pod in pods}

    def told(self) -> list[str]:
        """Reasons of the Events about the job."""
        mine = (
            "--field-selector",
            f"involvedObject.kind=TrainingJob,involvedObject.name={self.name}",
        )
        found = self.space.cluster.kubectl.items("events", "-n", self.space.name, *mine)
        return [event["reason"] for event in found]

    def until_says(self, reason: str, *words: str, kind: str = "Running") -> str:
        """The message of the condition, once it has this reason and these words in its message."""

        def silent() -> str | None:
            found = self.condition(kind)
            said = found.get("message", "")
            if found.get("reason") == reason and all(word in said for word in words):
                return None
            return f"{self.name} says {found.get('reason')}: {said!r}, not {reason} {words}"

        self._wait(silent)
        return str(self.condition(kind)["message"])

    def until(self, summary: str) -> None:
        """Returns when `kubectl get` shows this status."""
        self._wait(lambda: None if self.summary == summary else self._story())

    def until_generation(self, number: int) -> None:
        """Returns when all ranks of this generation, or of a later one, are bound."""
        self._wait(lambda: None if self.status.get("generation", 0) >= number else self._story())

    def until_finished(self) -> Json:
        """The status then; `kubectl wait` is what returns."""
        timeout = f"--timeout={PATIENCE_SECONDS:.0f}s"
        try:
            self.space.kubectl("wait", "--for=condition=Finished", f"tjob/{self.name}", timeout)
        except KubectlFailed as failed:
            raise AssertionError(self._story()) from failed
        return self.status

    def until_complete(self) -> Json:
        """The status then."""
        status = self.until_finished()
        assert _condition(status, "Complete")["status"] == "True", self._story()
        return status

    def until_failed(self) -> tuple[str, str]:
        """Reason and message of the condition Failed."""
        failed = _condition(self.until_finished(), "Failed")
        assert failed["status"] == "True", self._story()
        return failed["reason"], failed["message"]

    def change(self, **spec: Any) -> None:
        """Fields of its spec."""
        patch = json.dumps({"spec": spec})
        self.space.kubectl("patch", "tjob", self.name, "--type=merge", "-p", patch)

    def delete_pod(self, rank: int, *options: str) -> None:
        """Returns when it was asked to go."""
        name = self.pods()[rank]["metadata"]["name"]
        self.space.kubectl("delete", "pod", name, "--wait=false", *options)

    def delete(self) -> None:
        """Returns when nothing is left of it."""
        self.space.kubectl("delete", "tjob", self.name)
        self._wait(lambda: self._left() or None)

    def _left(self) -> str:
        kinds = "pods,jobs.batch,services,configmaps"
        return self.space.kubectl("get", kinds, "-l", f"{JOB}={self.name}", "-o", "name")

    def _story(self) -> str:
        status = self.status
        said = [f"{c['type']}={c['status']} {c['reason']}: {c['message']}"
                for c in status.get("conditions", [])]  # fmt: skip
        nodes = [f"rank {n['rank']} on {n['node']}: {n['state']} {n['reason']}"
                 for n in status.get("nodes", [])]  # fmt: skip
        logs: dict[int, str] = {}
        with contextlib.suppress(KubectlFailed):
            logs = self.logs()
        outputs = [f"rank {rank} printed:\n{text[-2000:]}" for rank, text in logs.items()]
        return "\n".join([f"{self.name} is {self.summary!r}", *said, *nodes, *outputs])

    def _wait(self, problem: Any) -> None:
        self.space.cluster.wait(problem, PATIENCE_SECONDS)


def _condition(status: Json, kind: str) -> Json:
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})


def _generation(pod: Json) -> int:
    return int(pod["metadata"]["labels"][GENERATION])


def _rank(pod: Json) -> int:
    return int(pod["metadata"]["annotations"][INDEX])
