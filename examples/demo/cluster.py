"""`make demo-cluster`: from nothing to a finished TrainingJob on a real Kubernetes of three nodes.

The database as a StatefulSet, the operator from its Helm chart, an example's rows, one `kubectl
apply`; while it trains, the pod of one database node is deleted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from examples.demo.say import accuracy, console, insitu, rows_file, say
from examples.demo.shows import EXAMPLES, Show
from insitu.contract.names import ALL
from insitu_operator.core.objects.names import JOB, VARIABLE
from testbed import cluster, images, s3
from testbed.cluster import cassandra, ignite
from testbed.cluster.stateful_sets import Pod

REPOSITORY = EXAMPLES.parent
NAMESPACE = "ml"
BUCKET = "checkpoints"
DELETE_AT_STEP = 60
LONGEST_SECONDS = 600.0
_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


class Database(Protocol):
    """Running pods of a database."""

    @property
    def pods(self) -> list[Pod]: ...
    def delete(self, pod: str) -> None: ...
    def wait_settled(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Images:
    operator: cluster.Image
    trainer: cluster.Image
    database: cluster.Image


_DATABASES: Mapping[str, Callable[[cluster.Cluster, str], Database]] = {
    "ignite": ignite.start,
    "cassandra": cassandra.start,
}
_DATABASE_IMAGES = {"ignite": ignite.image, "cassandra": cassandra.image}
_TRAINER_IMAGES = {"torch": images.trainer_torch, "tensorflow": images.trainer_tensorflow}


def run(show: Show) -> int:
    """Runs the demo; 0 when every claim held."""
    began = time.monotonic()
    say("Build the images of operator and trainer (kept for the next time)")
    built = _Images(
        operator=images.operator(),
        trainer=_TRAINER_IMAGES[show.framework](),
        database=_DATABASE_IMAGES[show.database.name](),
    )
    with (
        tempfile.TemporaryDirectory(prefix="insitu-demo-") as folder,
        _kubernetes([built.operator, built.trainer, built.database]) as kubernetes,
        s3.start(kubernetes.host) as store,
    ):
        failures = list(_Stage(show, kubernetes, store, Path(folder)).run(built))
    console.print()
    for failure in failures:
        console.print(f"[red]not as promised:[/] {failure}")
    if not failures:
        console.print(
            f"[green]All as promised[/] in {time.monotonic() - began:.0f} s: every trainer beside"
            " its database pod, every row read there, one database node lost on the way and no row."
        )
    return 1 if failures else 0


@contextmanager
def _kubernetes(loaded: Sequence[cluster.Image]) -> Iterator[cluster.Cluster]:
    say("Start a Kubernetes of three nodes")
    began = time.monotonic()
    with cluster.start(3, images=loaded) as kubernetes:
        console.print(kubernetes.kubectl("get", "nodes").rstrip())
        console.print(f"  ready after {time.monotonic() - began:.1f} s")
        yield kubernetes


class _Stage:
    def __init__(
        self, show: Show, kubernetes: cluster.Cluster, store: s3.Server, work: Path
    ) -> None:
        self._show = show
        self._kubernetes = kubernetes
        self._store = store
        self._work = work
        for script in show.scripts:
            shutil.copy(script, work)

    def run(self, images: _Images) -> Iterator[str]:
        """Every claim that did not hold."""
        database = self._database()
        self._operator(images)
        self._load(database, images.operator)
        self._train()
        with self._watched():
            placed = self._wait_for_step(DELETE_AT_STEP)
            yield from self._misplaced(database)
            say(f"Delete the pod of one database node, after step {placed}")
            database.delete(database.pods[0].name)
            console.print("  the operator makes a new plan, from the last checkpoint on")
            job = f"tjob/{self._show.example}"
            self._kubectl("wait", "--for=condition=Finished", job, "--timeout=10m")
        yield from self._end()

    def _database(self) -> Database:
        say(f"Start {self._show.database.title} as a StatefulSet, one pod on each node")
        labels = {"name": NAMESPACE, "labels": _RESTRICTED}
        self._kubernetes.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": labels}
        )
        database = _DATABASES[self._show.database.name](self._kubernetes, NAMESPACE)
        self._print("get", "pods", "-o", "wide")
        return database

    def _operator(self, images: _Images) -> None:
        say("Install the operator: helm install insitu charts/insitu")
        trainer = f"images.trainers.{self._show.framework}"
        named = {"images.operator": images.operator, trainer: images.trainer}
        settings = [
            f"--set={value}" for name, image in named.items() for value in _image(name, image)
        ]
        chart = str(REPOSITORY / "charts" / "insitu")
        helm = self._kubernetes.helm
        console.print(
            helm(
                "install", "insitu", chart, "-n", NAMESPACE, "--wait", "--set=replicas=1", *settings
            )
        )

    def _load(self, database: Database, operator: cluster.Image) -> None:
        job = self._show.example
        say(f"Load {self._show.rows}, each row on two of the three database nodes")
        rows = rows_file(self._work)
        self._kubectl("create", "configmap", f"{job}-rows", f"--from-file={rows}")
        self._apply("load.yaml", {"example.org/insitu-operator:0.1.0": operator.name})
        self._kubectl("wait", f"job/load-{job}", "--for=condition=Complete", "--timeout=5m")
        self._print("logs", f"job/load-{job}")
        database.wait_settled()

    def _train(self) -> None:
        say(f"kubectl apply -f examples/{self._show.example}/kubernetes/job.yaml")
        scripts = [f"--from-file={self._work / name}" for name in ("train.py", "model.py")]
        self._kubectl("create", "configmap", f"{self._show.example}-code", *scripts)
        self._store.create_bucket(BUCKET)
        keys = {"accessKeyId": self._store.access_key, "secretAccessKey": self._store.secret_key}
        self._apply(
            "store.yaml", {f"{name}: change-me": f"{name}: {key}" for name, key in keys.items()}
        )
        self._apply("job.yaml", {"http://store.example:7070": self._store.endpoint})

    def _apply(self, name: str, own: Mapping[str, str]) -> None:
        """Applies a manifest of the example, with what it leaves to its reader."""
        text = (self._show.folder / "kubernetes" / name).read_text()
        for theirs, ours in own.items():
            assert theirs in text, f"{name} no longer has {theirs}"
            text = text.replace(theirs, ours)
        (self._work / name).write_text(text)
        self._print("apply", "-f", str(self._work / name))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Prints what `kubectl get tjob --watch` prints."""
        command = [*self._kubernetes.kubectl.command, "-n", NAMESPACE, "get", "tjob", "--watch"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            relay = threading.Thread(target=_relay, args=(watch.stdout,), daemon=True)
            relay.start()
            try:
                yield
            finally:
                watch.terminate()
                relay.join(timeout=5)

    def _wait_for_step(self, wanted: int) -> int:
        deadline = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < deadline:
            status = self._status()
            step = int((status.get("trainerStatus") or {}).get("step", 0))
            if step >= wanted or _finished(status):
                return step
            time.sleep(0.2)
        raise SystemExit(f"the job took no step {wanted} in {LONGEST_SECONDS:.0f} s")

    def _misplaced(self, database: Database) -> Iterator[str]:
        say("Each trainer beside its database pod, with what that node has")
        named = f"{JOB}={self._show.example}"
        self._print("get", "pods", "-l", named, "-o", "wide")
        for rank in self._status().get("nodes", []):
            console.print(
                f"  rank {rank['rank']} on {rank['node']} reads {rank['shards']} shards"
                f" of database node {rank['databaseNode']}",
                soft_wrap=True,
            )
        machines = {pod.ip: pod.node for pod in database.pods}
        address = VARIABLE + ALL[self._show.database.name]("HOST")
        trainers = self._kubernetes.kubectl.items("pods", "-n", NAMESPACE, "-l", named)
        for pod in trainers:
            told = pod["metadata"]["annotations"][address]
            if pod["spec"]["nodeName"] != machines.get(told):
                yield f"{pod['metadata']['name']} is not on the machine of {told}, which it reads"
        if len(trainers) != len(machines):
            yield f"{len(trainers)} trainers for {len(machines)} database nodes"

    def _end(self) -> Iterator[str]:
        say("What the job says of itself at the end")
        self._print("get", "tjob", "-o", "wide")
        self._print("get", "events", "--field-selector=involvedObject.kind=TrainingJob",
                    "-o", "custom-columns=REASON:.reason,MESSAGE:.message")  # fmt: skip
        status = self._status()
        say(f"The model in the store, on {self._show.held_out}")
        os.environ.update({**self._store.environment, "AWS_ALLOW_HTTP": "true"})
        reached = accuracy(self._work, f"s3://{BUCKET}", self._show.example)
        say("Its checkpoints")
        keys = self._work / "keys"
        keys.mkdir()
        (keys / "accessKeyId").write_text(self._store.access_key)
        (keys / "secretAccessKey").write_text(self._store.secret_key)
        insitu("checkpoints", self._work / "job.yaml", "--secret", f"checkpoint-store={keys}")
        if not any(c["type"] == "Complete" and c["status"] == "True" for c in status["conditions"]):
            yield "the job is not Complete"
        if reached < self._show.wanted_accuracy:
            yield f"accuracy {reached:.3f} is below {self._show.wanted_accuracy}"
        if not status.get("restarts"):
            yield "the lost database node led to no new plan"
        locality = status.get("locality", {})
        if locality.get("bytesRemote") or not locality.get("bytesLocal"):
            yield f"not every row was read beside its database node: {locality}"

    def _status(self) -> dict[str, Any]:
        found = json.loads(self._kubectl("get", "tjob", self._show.example, "-o", "json"))
        status: dict[str, Any] = found.get("status", {})
        return status

    def _print(self, *arguments: str) -> None:
        console.print(self._kubectl(*arguments).rstrip(), soft_wrap=True)

    def _kubectl(self, *arguments: str) -> str:
        return self._kubernetes.kubectl("-n", NAMESPACE, *arguments)


def _relay(lines: IO[str]) -> None:
    for line in lines:
        console.print(line.rstrip(), soft_wrap=True)


def _image(where: str, image: cluster.Image) -> list[str]:
    repository, _, tag = image.name.rpartition(":")
    return [f"{where}.repository={repository}", f"{where}.tag={tag}"]


def _finished(status: dict[str, Any]) -> bool:
    conditions = status.get("conditions", [])
    return any(c["type"] == "Finished" and c["status"] == "True" for c in conditions)
