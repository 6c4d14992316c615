"""Plans drawn by chance."""

from __future__ import annotations

import random

from insitu.errors import ExitCode
from tests.simulator.plans import Do, Fault, Job, Kind, Order, Plan

_NAMES = ("digits", "faces", "birds")
_CALM_AT = 60.0
"""From when on nobody holds a job, and all database nodes live."""

_FIRST_WRITES = 120
_CODES = (1, 137, ExitCode.DATABASE_UNAVAILABLE, ExitCode.PEER_LOST, ExitCode.STORE)
_ORDERS = (
    Do.SUSPEND, Do.RESUME, Do.SUSPEND, Do.RESUME, Do.NODES, Do.NODES, Do.EXIT, Do.EVICT,
    Do.DELETE, Do.DELETE_FOREGROUND, Do.CREATE, Do.DEADLINE, Do.REMOVE_SERVICE,
)  # fmt: skip


def drawn(seed: int) -> Plan:
    """One to three jobs, some orders to each, up to five faults; then it calms down."""
    chance = random.Random(seed)
    jobs = tuple(_job(chance, name) for name in _NAMES[: chance.choice([1, 1, 2, 3])])
    orders = tuple(order for job in jobs for order in _orders(chance, job))
    faults = {
        chance.randrange(_FIRST_WRITES): chance.choice(tuple(Kind))
        for _ in range(chance.randint(0, 5))
    }
    return Plan(
        jobs=jobs,
        orders=orders,
        faults=tuple(Fault(write=w, kind=kind) for w, kind in sorted(faults.items())),
        restart=chance.choice([0.25, 1.0, 5.0]),
        seed=seed,
    )


def _job(chance: random.Random, name: str) -> Job:
    spec = {"ttlSecondsAfterFinished": chance.randint(1, 20)} if chance.random() < 0.2 else {}
    return Job(
        name=name,
        at=chance.choice([0.0, 0.0, chance.uniform(0, 10)]),
        steps=chance.randint(1, 20),
        spec=spec,
    )


def _orders(chance: random.Random, job: Job) -> list[Order]:
    times = sorted(round(chance.uniform(0, 40), 2) for _ in range(chance.randint(0, 5)))
    drawn = [_order(chance, job, at) for at in times]
    calm = [
        Order(do=Do.NODES, job=job.name, at=_CALM_AT, nodes=job.nodes),
        Order(do=Do.RESUME, job=job.name, at=_CALM_AT),
    ]
    return [*drawn, *calm]


def _order(chance: random.Random, job: Job, at: float) -> Order:
    do = chance.choice(_ORDERS)
    value = chance.choice(_CODES) if do is Do.EXIT else chance.randint(5, 60)
    return Order(
        do=do,
        job=job.name,
        at=at,
        rank=chance.choice([0, 1, 2]) if do in (Do.EXIT, Do.EVICT) else 0,
        value=value if do in (Do.EXIT, Do.DEADLINE) else 0,
        nodes=chance.choice([(0, 1), (1, 2), (0, 2), (1,)]) if do is Do.NODES else (),
    )
