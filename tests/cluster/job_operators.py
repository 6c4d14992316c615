"""The operator's parts on a real API server, and TrainingJobs for it in few words."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from insitu_operator.kubernetes import Api, ApiProblem, Json, connect
from insitu_operator.kubernetes.paths import target
from insitu_operator.shell.metrics import Metrics
from insitu_operator.shell.parts import Parts
from insitu_operator.shell.settings import Settings
from insitu_operator.shell.watching.pulse import Pulse
from insitu_operator.shell.watching.watches import watch, watched_paths
from tests.cluster.fixed_database import FixedDatabase
from tests.cluster.manifests import Space
from tests.cluster.trainingjobs import KINDS

PATIENCE_SECONDS = 60.0

# Leaves at once when it is asked to.
SLEEP = "import signal,sys,time; signal.signal(15, lambda *_: sys.exit(79)); time.sleep(600)"


@dataclass
class Running:
    """An operator that runs in a thread of its own, and all requests it has sent."""

    requests: list[tuple[str, str, int]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def observe(self, verb: str, resource: str, status: int, _seconds: float) -> None:
        self.requests.append((verb, resource, status))
        self.times.append(time.monotonic())

    @property
    def counted(self) -> Counter[str]:
        return Counter(f"{verb} {resource} {status}" for verb, resource, status in self.requests)

    def settled(self, seconds: float = 2.0) -> None:
        """Returns when no request was sent for so long."""
        limit = time.monotonic() + PATIENCE_SECONDS
        before, since = len(self.requests), time.monotonic()
        while time.monotonic() < since + seconds:
            assert time.monotonic() < limit, f"never at rest: {self.counted}"
            if len(self.requests) != before:
                before, since = len(self.requests), time.monotonic()
            time.sleep(0.05)


@contextmanager
def operator(
    space: Space,
    database: FixedDatabase,
    change: Callable[[Api], Api] = lambda api: api,
    **settings: Any,
) -> Iterator[Running]:
    """An operator of the namespace, as the account of `KUBECONFIG`; without a Lease."""
    running = Running()
    chosen = Settings(namespaces=(space.name,), **settings)
    began = threading.Event()
    failed: list[BaseException] = []
    stops: list[Callable[[], None]] = []

    async def live() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: None if loop.is_closed() else end(loop, stop))
        async with connect(running.observe) as found:
            parts = Parts(chosen, change(found), Metrics(), "test", lambda: True, database.open)
            async with parts.databases:
                await parts.resync.once()
                async with parts.queue:
                    ready = asyncio.Event()
                    pulse = Pulse(watched_paths([space.name]))
                    watching = watch(parts.sight, [space.name], pulse, Metrics(), ready)
                    tasks = [asyncio.create_task(parts.resync.run())]
                    tasks.append(asyncio.create_task(watching))
                    await ready.wait()
                    began.set()
                    await stop.wait()
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        # Connections with TLS end a moment after they were closed (aiohttp, graceful shutdown).
        await asyncio.sleep(0.25)

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # noqa: BLE001 - raised again in the test
            failed.append(error)
        finally:
            began.set()

    thread = threading.Thread(target=run)
    thread.start()
    began.wait()
    try:
        if not failed:
            yield running
    finally:
        for stop in stops:
            stop()
        thread.join()
    if failed:
        raise failed[0]


def end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    loop.call_soon_threadsafe(stop.set)


@dataclass(frozen=True)
class JobSpace:
    """TrainingJobs of a namespace, in few words."""

    space: Space
    image: str

    def create(self, name: str = "digits", **spec: Any) -> None:
        """`spec` replaces whole parts of the spec."""
        self.space.apply(self.manifest(name, **spec))

    def manifest(self, name: str = "digits", **spec: Any) -> dict[str, Any]:
        return KINDS | {
            "metadata": {"name": name},
            "spec": {
                "data": {"ignite": {"endpoints": self.endpoints, "cache": "DIGITS"}},
                "trainer": {"image": self.image, "command": ["python3", "-c", SLEEP]},
                **spec,
            },
        }

    @property
    def endpoints(self) -> list[str]:
        return [f"{address}:10800" for address in self.addresses]

    @property
    def addresses(self) -> list[str]:
        """Of the cluster's nodes, in the order of their names."""
        return [node.ip for node in sorted(self.space.cluster.nodes, key=lambda n: n.name)]

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.space.kubectl("get", kind, name, "-o", "json"))
        return found

    def all(self, kind: str) -> list[dict[str, Any]]:
        return self.space.cluster.kubectl.items(kind, "-n", self.space.name)

    def status(self, name: str = "digits") -> dict[str, Any]:
        found: dict[str, Any] = self.get("tjob", name).get("status", {})
        return found

    def condition(self, kind: str, name: str = "digits") -> dict[str, Any]:
        conditions = self.status(name).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def doing(self, name: str = "digits") -> str:
        return str(self.status(name).get("summary", {}).get("status", ""))

    def until(self, true: Callable[[], object], what: str = "") -> None:
        """Looks again and again until it is so."""
        limit = time.monotonic() + PATIENCE_SECONDS
        while not true():
            if time.monotonic() > limit:
                shown = [(j["metadata"]["name"], j.get("status")) for j in self.all("tjob")]
                raise AssertionError(f"never came: {what}; {json.dumps(shown, indent=1)}")
            time.sleep(0.1)

    def until_says(self, reason: str, kind: str = "Reconciling", name: str = "digits") -> str:
        """Returns the message of the condition once it has this reason."""
        self.until(lambda: self.condition(kind, name).get("reason") == reason, reason)
        return str(self.condition(kind, name)["message"])

    def pods(self, name: str = "digits") -> list[dict[str, Any]]:
        return self.space.pods(**{"insitu.dev/job": name})

    def placed(self, name: str = "digits") -> dict[int, str]:
        """Machine by rank, of all pods that are bound and not going away."""
        rank = "batch.kubernetes.io/job-completion-index"
        return {
            int(pod["metadata"]["annotations"][rank]): pod["spec"]["nodeName"]
            for pod in self.pods(name)
            if "nodeName" in pod["spec"] and "deletionTimestamp" not in pod["metadata"]
        }

    def until_it_runs(self, name: str = "digits") -> None:
        self.until(lambda: self.doing(name) == "Running", f"{name} runs")

    def change(self, name: str = "digits", **spec: Any) -> None:
        """Fields of its spec."""
        patch = json.dumps({"spec": spec})
        self.space.kubectl("patch", "tjob", name, "--type=merge", "-p", patch)

    def living(self, name: str = "digits") -> list[dict[str, Any]]:
        return [pod for pod in self.pods(name) if "deletionTimestamp" not in pod["metadata"]]

    def plan(self, name: str = "digits") -> dict[str, Any]:
        """As it was recorded."""
        text = self.get("configmap", f"{name}-plan")["data"]["plan.json"]
        found: dict[str, Any] = json.loads(text)["plan"]
        return found

    def told(self) -> set[str]:
        """Reasons of all Events about TrainingJobs."""
        mine = (e for e in self.all("events") if e["involvedObject"]["kind"] == "TrainingJob")
        return {event["reason"] for event in mine}

    def serve(self, name: str, *, port: int, target: int, ready: bool = True) -> None:
        """A Service of the machines' own addresses."""
        ports = [{"name": "thin", "port": port, "targetPort": target}]
        nodes = self.space.cluster.nodes
        self.space.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"ports": ports},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"name": "thin", "port": target, "protocol": "TCP"}],
                "endpoints": [
                    {"addresses": [n.ip], "conditions": {"ready": ready}, "nodeName": n.name}
                    for n in nodes
                ],
            },
        )

    def let_see_nodes(self, account: str) -> None:
        """A right that no Role can give."""
        name = f"nodes-for-{self.space.name}"
        kubectl, subject = self.space.cluster.kubectl, f"{self.space.name}:{account}"
        kubectl("create", "clusterrole", name, "--verb=list,watch", "--resource=nodes")
        bound = (f"--clusterrole={name}", f"--serviceaccount={subject}")
        kubectl("create", "clusterrolebinding", name, *bound)


def annotated_meanwhile(jobs: JobSpace) -> Callable[[Api], Api]:
    """An API server on which somebody changes a job just before its first status is written."""

    def change(api: Api) -> Api:
        merge = api.merge
        done: list[str] = []

        async def meddling(path: str, body: Json) -> Json:
            if path.endswith("/status") and not done:
                done.append(path)
                jobs.space.kubectl("annotate", "tjob", "digits", "somebody=else")
            return await merge(path, body)

        api.merge = meddling  # type: ignore[method-assign]
        return api

    return change


def dead_after_one_binding(api: Api) -> Api:
    """An API server that this operator does not reach any more once it has bound one pod."""
    strategic = api.strategic
    done: list[str] = []

    async def once(path: str, body: Json) -> Json:
        if done:
            raise ApiProblem("patch", target(path), 0, "Unreachable", "the cable is cut")
        done.append(path)
        return await strategic(path, body)

    api.strategic = once  # type: ignore[method-assign]
    return api
