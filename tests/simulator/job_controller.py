"""Kubernetes' Job controller, for Indexed Jobs whose `podReplacementPolicy` is Failed.

Sources: kubernetes, pkg/controller/job/job_controller.go, indexed_job_utils.go, tracking.
"""

from __future__ import annotations

from insitu_operator.core.objects.names import INDEX
from tests.simulator.server import TRACKING, delete_pod
from tests.simulator.store import Id, Json, Store, copied

BACKOFF_SECONDS = 10.0
"""Before a failed pod is replaced; doubles with each failure of the Job."""

_LONGEST_BACKOFF = 600.0


class JobController:
    """Call `live` often."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failed: dict[str, dict[str, float]] = {}

    def live(self) -> None:
        pods: dict[str, list[Json]] = {}
        for pod in self._store.of("pods"):
            for reference in pod["metadata"].get("ownerReferences", ()):
                pods.setdefault(reference["uid"], []).append(pod)
        jobs = self._store.of("jobs")
        for job in jobs:
            self._job(job, pods.pop(job["metadata"]["uid"], []))
        for orphans in pods.values():
            for pod in orphans:
                self._release(pod)

    def _job(self, job: Json, pods: list[Json]) -> None:
        self._count_failures(job, pods)
        finished = bool(job.get("status", {}).get("completionTime"))
        for pod in pods:
            if finished or pod["status"]["phase"] in ("Succeeded", "Failed"):
                self._release(pod)
        if finished or "deletionTimestamp" in job["metadata"]:
            return
        done = {_index(pod) for pod in pods if pod["status"]["phase"] == "Succeeded"}
        # A pod that is about to go is replaced only when it has failed.
        taken = [pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]
        active = [pod for pod in taken if "deletionTimestamp" not in pod["metadata"]]
        count = job["spec"]["completions"]
        if len(done) == count:
            job.setdefault("status", {})["completionTime"] = self._store.now()
            self._store.touch(_id("jobs", job))
            for pod in active:
                delete_pod(self._store, _id("pods", pod), pod)
            return
        room = job["spec"]["parallelism"] - len(taken)
        if room < 0:
            for pod in active[room:]:
                delete_pod(self._store, _id("pods", pod), pod)
        elif room > 0 and self._may_create(job):
            missing = [i for i in range(count) if i not in done | set(map(_index, taken))]
            for index in missing[:room]:
                self._create(job, index)

    def _count_failures(self, job: Json, pods: list[Json]) -> None:
        seen = self._failed.setdefault(job["metadata"]["uid"], {})
        for pod in pods:
            if pod["status"]["phase"] == "Failed":
                seen.setdefault(pod["metadata"]["uid"], self._store.seconds)

    def _may_create(self, job: Json) -> bool:
        seen = self._failed[job["metadata"]["uid"]].values()
        pause = min(BACKOFF_SECONDS * 2 ** (len(seen) - 1), _LONGEST_BACKOFF)
        return not seen or self._store.seconds >= max(seen) + pause

    def _create(self, job: Json, index: int) -> None:
        metadata, template = job["metadata"], copied(job["spec"]["template"])
        own = template["metadata"]
        own["labels"] = {**own.get("labels", {}), INDEX: str(index)}
        own["annotations"] = {**own.get("annotations", {}), INDEX: str(index)}
        own["finalizers"] = [TRACKING]
        own["ownerReferences"] = [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": own,
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        name = f"{metadata['name']}-{index}-{self._store.uid()}"
        self._store.add(Id("pods", metadata["namespace"], name), pod)

    def _release(self, pod: Json) -> None:
        """It has been counted: nothing keeps it any more."""
        if not pod["metadata"].pop("finalizers", None):
            return
        which = _id("pods", pod)
        if pod["metadata"].get("deletionGracePeriodSeconds") == 0:
            self._store.remove(which)
        else:
            self._store.touch(which)


def _index(pod: Json) -> int:
    return int(pod["metadata"]["annotations"][INDEX])


def _id(resource: str, body: Json) -> Id:
    return Id(resource, body["metadata"]["namespace"], body["metadata"]["name"])
