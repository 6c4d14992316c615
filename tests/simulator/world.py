"""A whole cluster, run through one plan in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass

from insitu.api import GROUP, KIND, VERSION
from insitu.progress import Heartbeat, HeartbeatReply
from insitu.topology import Topology
from insitu_operator.core.objects.names import HOSTNAME, JOB_UID
from tests import virtual_time
from tests.simulator import plans
from tests.simulator.collector import Collector
from tests.simulator.databases import PORT, address, topology
from tests.simulator.holdings import Holdings
from tests.simulator.job_controller import JobController
from tests.simulator.kubelet import Kubelet
from tests.simulator.plans import Do, Order, Plan
from tests.simulator.process import Process
from tests.simulator.scheduler import Scheduler
from tests.simulator.server import Refused, Request, Server
from tests.simulator.store import Id, Json, Store
from tests.simulator.trainers import Training
from tests.simulator.wire import Traffic
from tests.simulator.witness import Witness

NAMESPACE = "ml"
TICK_SECONDS = 0.125
REST_SECONDS = 0.5
"""Between two looks of Kubernetes' controllers, and the same once all jobs have ended."""

QUIET_SECONDS = 45.0
"""For so long nothing may be written at the end; longer than anything that is still asked for."""

LIMIT_SECONDS = 900.0
"""What has not ended by then never will."""

_JSON = "application/merge-patch+json"


@dataclass(frozen=True)
class End:
    """How one job ended.

    Attributes:
        state: First words of the summary of its status; `deleted` when it is gone.
        generation: Of its status.
        restarts: Of its status.
        starts: Generations and ranks that were started.
    """

    state: str
    generation: int
    restarts: int
    starts: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a plan.

    Attributes:
        ends: Of each job, by name.
        wrong: All that must never be.
        writes: Of the operator.
        seconds: After which all jobs had ended.
        shared: Seconds that some two jobs each held a part of what they needed.
    """

    ends: dict[str, End]
    wrong: tuple[str, ...]
    writes: tuple[str, ...]
    seconds: float
    shared: float


def run(plan: Plan) -> Outcome:
    """In no time."""

    async def main() -> Outcome:
        return await World(plan).run()

    return virtual_time.run(main())


class World:
    """Made in a running loop, whose time is that of the cluster."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self.store = Store(self._loop.time)
        self.witness = Witness(self.store)
        self._holdings = Holdings(self.store)
        self.traffic = Traffic.through(plan.faults)
        self._chance = random.Random(plan.seed)
        self._alive = {job.name.upper(): job.nodes for job in plan.jobs}
        self._jobs = {job.name: job for job in plan.jobs}
        self._uids: dict[str, str] = {}
        self._server = Server(self.store)
        self._training = Training(self._post, self._steps, self._size, self._loop.time)
        self._kubelet = Kubelet(self.store, self._training)
        self._parts = (
            JobController(self.store),
            Scheduler(self.store, random.Random(plan.seed)),
            self._kubelet,
            Collector(self.store),
        )
        self._process: Process | None = None
        self._ordered = {job.name: [*_creations(job), *_of(plan, job.name)] for job in plan.jobs}
        for number in range(plan.machines):
            self.store.add(Id("nodes", "", f"machine-{number}"), _machine(number, plan.room))

    async def run(self) -> Outcome:
        self._start()
        ended_at: float | None = None
        while self._loop.time() < LIMIT_SECONDS:
            self._order()
            for part in self._parts:
                part.live()
            self._holdings.look()
            now, over = self._loop.time(), self._over()
            if not over:
                ended_at = None
            elif ended_at is None:
                ended_at = now
            elif now > max(ended_at, self.traffic.last_write) + QUIET_SECONDS:
                break
            await asyncio.sleep(REST_SECONDS if over else TICK_SECONDS)
        if self._process:
            await self._process.stop()
        return self._outcome(ended_at)

    # The operator.

    def _start(self) -> None:
        self._process = Process(
            self.store, self.traffic, self._topology, self._raised, self._died, self._chance
        )

    def _died(self) -> None:
        self._process = None
        self._loop.call_later(self._plan.restart, self._start)

    def _raised(self, error: Exception) -> None:
        self.witness.say(f"a pass raised {type(error).__name__}: {error}")

    def _topology(self, table: str) -> Topology:
        return topology(self._jobs[table.lower()].nodes, self._alive[table])

    # The trainers.

    def _post(self, pod: Json, heartbeat: Heartbeat) -> HeartbeatReply | None:
        return self._process.heartbeat(pod, heartbeat) if self._process else None

    def _steps(self, job: str) -> int:
        return self._jobs[job].steps

    def _size(self, pod: Json) -> int:
        name = pod["metadata"]["ownerReferences"][0]["name"]
        found = self.store.find(Id("jobs", pod["metadata"]["namespace"], name))
        return int(found["spec"]["completions"]) if found else 0

    # Whoever orders.

    def _order(self) -> None:
        for orders in self._ordered.values():
            while orders and self._due(orders[0]) and self._carry_out(orders[0]):
                orders.pop(0)

    def _due(self, order: Order) -> bool:
        body = self._body(order.job) or {}
        state = _summary(body)
        log = self._training.logs.get(self._uids.get(order.job, ""))
        taken = log.taken if log else 0
        return (
            self._loop.time() >= order.at and taken >= order.step and state.startswith(order.state)
        )

    def _carry_out(self, order: Order) -> bool:
        """False if it has to be tried again: one that waits for no time can't be left out."""
        name, uid = order.job, self._uids.get(order.job, "")
        match order.do:
            case Do.CREATE:
                return self._create(self._jobs[name]) or order.at > 0
            case Do.SUSPEND | Do.RESUME:
                self._edit(name, suspend=order.do is Do.SUSPEND)
            case Do.DEADLINE:
                self._edit(name, activeDeadlineSeconds=order.value)
            case Do.DELETE | Do.DELETE_FOREGROUND:
                policy = "Background" if order.do is Do.DELETE else "Foreground"
                self._ask("delete", name, {"propagationPolicy": policy})
            case Do.NODES:
                self._alive[name.upper()] = order.nodes
            case Do.EXIT:
                if (found := self._training.rank(uid, order.rank)) is None:
                    return order.at > 0
                found.end(order.value, self._loop.time())
            case Do.EVICT:
                if (found := self._training.rank(uid, order.rank)) is None:
                    return order.at > 0
                self._kubelet.evict(found.pod)
            case Do.REMOVE_SERVICE:
                which = Id("services", NAMESPACE, f"{name}-trainers")
                if self.store.find(which):
                    self.store.remove(which)
        return True

    def _create(self, job: plans.Job) -> bool:
        if self._body(job.name) is not None:
            return False
        spec: Json = {
            "data": {"ignite": {"endpoints": [f"{address(0)}:{PORT}"], "cache": job.name.upper()}},
            "trainer": {"command": ["python", "train.py"]},
        }
        if self._plan.room is not None:
            spec["trainer"] |= {"resources": {"requests": {"cpu": "1"}}}
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": job.name, "namespace": NAMESPACE},
            "spec": {**spec, **job.spec},
        }
        made = self._server.answer(Request("create", _path(""), {}, body))
        self._uids[job.name] = made["metadata"]["uid"]
        return True

    def _edit(self, name: str, **spec: object) -> None:
        self._ask("patch", name, {"spec": spec})

    def _ask(self, verb: str, name: str, body: Json) -> None:
        try:
            self._server.answer(Request(verb, _path(name), {}, body, _JSON))
        except Refused as refused:
            if refused.status != 404:
                raise

    def _body(self, name: str) -> Json | None:
        return self.store.find(Id("trainingjobs", NAMESPACE, name))

    # The end.

    def _over(self) -> bool:
        """Nothing is ordered any more, and each job has ended or is gone."""
        if any(self._ordered.values()):
            return False
        bodies = [self._body(name) for name in self._jobs]
        return all(b is None or _summary(b).startswith(("Complete", "Failed")) for b in bodies)

    def _outcome(self, ended_at: float | None) -> Outcome:
        wrong = [*self.witness.wrong, *self._leftovers()]
        if ended_at is None:
            states = {name: _summary(self._body(name) or {}) for name in self._jobs}
            left = {name: len(orders) for name, orders in self._ordered.items() if orders}
            wrong.append(f"not ended after {LIMIT_SECONDS:g} s: {states}, orders left: {left}")
        elif self.traffic.last_write + QUIET_SECONDS > self._loop.time():
            wrong.append("it still writes")
        wrong += self.traffic.refused
        return Outcome(
            {name: self._end(name) for name in self._jobs},
            tuple(wrong),
            tuple(self.traffic.writes),
            ended_at or LIMIT_SECONDS,
            self._holdings.longest,
        )

    def _end(self, name: str) -> End:
        body = self._body(name)
        status: Json = (body or {}).get("status", {})
        return End(
            state=_summary(body) if body else "deleted",
            generation=status.get("generation", 0),
            restarts=status.get("restarts", 0),
            starts=self.witness.starts(self._uids.get(name, "")),
        )

    def _leftovers(self) -> Iterator[str]:
        """Of jobs that are gone, and of those that have ended what still takes up a machine."""
        uids = {job["metadata"]["uid"] for job in self.store.of("trainingjobs")}
        for which, body in self.store.everything():
            uid = body["metadata"].get("labels", {}).get(JOB_UID)
            if uid and uid not in uids:
                yield f"{which.resource} {which.name} is left of a job that is gone"
            elif which.resource == "pods" and body["status"]["phase"] in ("Pending", "Running"):
                yield f"pod {which.name} is left"


def _creations(job: plans.Job) -> list[Order]:
    return [Order(do=Do.CREATE, job=job.name, at=job.at)]


def _of(plan: Plan, job: str) -> list[Order]:
    return [order for order in plan.orders if order.job == job]


def _summary(body: Json) -> str:
    return str(body.get("status", {}).get("summary", {}).get("status", ""))


def _path(name: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/trainingjobs/{name}".rstrip("/")


def _machine(number: int, room: int | None) -> Json:
    return {
        "metadata": {"labels": {HOSTNAME: f"host-{number}"}},
        "spec": {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address(number)}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "allocatable": {"cpu": str(room or 64)},
        },
    }
