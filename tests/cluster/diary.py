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
from types import TracebackType
from typing import Any, NamedTuple, Self

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
    said: str = ""
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

    def until_all(self, summary: str, *jobs: str, seconds: float = 120.0) -> None:
        """Returns when each job says so of itself."""
        self.until(lambda: all(self.stories[job].summary == summary for job in jobs), seconds)

    def until_running(self, *jobs: str) -> None:
        self.until_all("Running", *jobs)

    def training_job(self, at: float, body: Json) -> None:
        with self._news:
            story = self.stories[body["metadata"]["name"]]
            story.created = story.created or at
            if status := body.get("status"):
                story.first_status = story.first_status or at
                story.summary = (status.get("summary") or {}).get("status", "")
                told = {c["type"]: c["message"] for c in status.get("conditions", ())}
                story.said = told.get("Reconciling", "")
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
    """Kept by threads of its own until the block ends.

    A watch that ends begins anew with all there is by then: only while the API server is away may
    something come and go unseen.
    """
    kept, managed = Diary(), f"&labelSelector={MANAGED}%3Dtrue"
    space = f"namespaces/{namespace}"
    with contextlib.ExitStack() as stack:
        for path, take in (
            (f"/apis/insitu.dev/v1alpha1/{space}/trainingjobs?watch=1", kept.training_job),
            (f"/apis/batch/v1/{space}/jobs?watch=1{managed}", kept.batch_job),
            (f"/api/v1/{space}/pods?watch=1{managed}", kept.pod),
        ):
            stack.enter_context(_Watch(cluster, path, take))
        yield kept


class _Watch:
    """Tells of each object that is there, comes or changes, as soon as that is heard."""

    def __init__(self, cluster: Cluster, path: str, take: Callable[[float, Json], None]) -> None:
        pki = cluster.kubeconfig.parent
        clusters = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"]
        self._host = clusters[0]["cluster"]["server"].removeprefix("https://")
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._path, self._take = path, take
        self._connection = self._connected()
        self._began, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=path)

    def __enter__(self) -> Self:
        self._thread.start()
        self._began.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        with contextlib.suppress(OSError, AttributeError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _connected(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host, context=self._context)

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._connection.request("GET", self._path)
                # Not so while the API server starts, or the definition of the objects is new.
                if (answer := self._connection.getresponse()).status == http.HTTPStatus.OK:
                    self._began.set()
                    self._read(answer)
            self._over.wait(0.2)
            self._connection.close()
            self._connection = self._connected()

    def _read(self, answer: http.client.HTTPResponse) -> None:
        rest = b""
        while piece := answer.read1(1 << 16):
            at = time.monotonic()
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    self._take(at, event["object"])
