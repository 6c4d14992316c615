"""What becomes of TrainingJobs and their pods, with the moment at which each thing was heard."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from insitu_operator.core.objects.names import GENERATION, INDEX, JOB, MANAGED
from testbed.cluster import Cluster

Json = dict[str, Any]


class Place(NamedTuple):
    """Of a rank in one generation of a job."""

    job: str
    generation: int
    rank: int


@dataclass
class Story:
    """Of one job. Moments are of `time.monotonic`; None: not yet."""

    created: float | None = None
    first_status: float | None = None
    first_batch_job: float | None = None
    summary: str = ""
    bound: dict[Place, float] = field(default_factory=dict)


class Diary:
    """Of a namespace. `pods` has the uids that each place ever had."""

    def __init__(self) -> None:
        self.stories: defaultdict[str, Story] = defaultdict(Story)
        self.pods: defaultdict[Place, set[str]] = defaultdict(set)
        self._news = threading.Condition()

    def until(self, true: Callable[[], bool], seconds: float = 120.0) -> None:
        """Raises:
        TimeoutError: it did not become true.
        """
        with self._news:
            if not self._news.wait_for(true, seconds):
                raise TimeoutError(f"after {seconds:.0f} s: {dict(self.stories)}")

    def are_bound(self, ranks: int, *jobs: str) -> bool:
        """Whether so many ranks of each job have a machine."""
        return all(len(self.stories[job].bound) >= ranks for job in jobs)

    def until_bound(self, ranks: int, *jobs: str, seconds: float = 120.0) -> float:
        """The moment at which the last rank was."""
        self.until(lambda: self.are_bound(ranks, *jobs), seconds)
        return max(max(self.stories[job].bound.values()) for job in jobs)

    def training_job(self, at: float, body: Json) -> None:
        with self._news:
            story = self.stories[body["metadata"]["name"]]
            story.created = story.created or at
            if status := body.get("status"):
                story.first_status = story.first_status or at
                story.summary = (status.get("summary") or {}).get("status", "")
            self._news.notify_all()

    def batch_job(self, at: float, body: Json) -> None:
        with self._news:
            story = self.stories[body["metadata"]["labels"][JOB]]
            story.first_batch_job = story.first_batch_job or at
            self._news.notify_all()

    def pod(self, at: float, body: Json) -> None:
        metadata = body["metadata"]
        labels, index = metadata["labels"], metadata["annotations"][INDEX]
        place = Place(labels[JOB], int(labels[GENERATION]), int(index))
        with self._news:
            self.pods[place].add(metadata["uid"])
            if "nodeName" in body["spec"]:
                self.stories[place.job].bound.setdefault(place, at)
            self._news.notify_all()


@contextmanager
def diary(cluster: Cluster, namespace: str) -> Iterator[Diary]:
    """Kept by threads of its own until the block ends. The API server must not go away."""
    kept = Diary()
    managed = f"&labelSelector={MANAGED}%3Dtrue"
    space = f"namespaces/{namespace}"
    with contextlib.ExitStack() as stack:
        for path, take in (
            (f"/apis/insitu.dev/v1alpha1/{space}/trainingjobs?watch=1", kept.training_job),
            (f"/apis/batch/v1/{space}/jobs?watch=1{managed}", kept.batch_job),
            (f"/api/v1/{space}/pods?watch=1{managed}", kept.pod),
        ):
            stack.enter_context(_watched(cluster, path, take))
        yield kept


@contextmanager
def _watched(cluster: Cluster, path: str, take: Callable[[float, Json], None]) -> Iterator[None]:
    connection = _connection(cluster)
    connection.request("GET", path)
    while (answer := connection.getresponse()).status != http.HTTPStatus.OK:
        # The API server is not ready for objects whose definition is new.
        assert answer.status == http.HTTPStatus.TOO_MANY_REQUESTS, answer.read()
        answer.read()
        time.sleep(0.5)
        connection.request("GET", path)

    def read() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for line in answer:
                at, event = time.monotonic(), json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    take(at, event["object"])

    thread = threading.Thread(target=read, name=path)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
        thread.join()
        connection.close()


def _connection(cluster: Cluster) -> http.client.HTTPSConnection:
    pki = cluster.kubeconfig.parent
    address = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    return http.client.HTTPSConnection(address.removeprefix("https://"), context=context)
