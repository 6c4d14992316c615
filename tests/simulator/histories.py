"""The histories whose every write is tried with every fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.simulator.plans import Do, Fault, Job, Kind, Order, Plan


def _steady(*orders: Order, **job: object) -> Plan:
    return Plan(jobs=(Job.model_validate(job),), orders=orders, steady=True)


HISTORIES: Mapping[str, Plan] = {
    "start": _steady(),
    "restart": _steady(Order(do=Do.EXIT, step=3, rank=1, value=1)),
    "eviction": _steady(Order(do=Do.EVICT, step=3, rank=2)),
    "re-plan": _steady(Order(do=Do.NODES, step=3, nodes=(0, 1)), steps=12),
    "suspension": _steady(
        Order(do=Do.SUSPEND, step=3), Order(do=Do.RESUME, state="Suspended"), steps=8
    ),
    "time to live": _steady(spec={"ttlSecondsAfterFinished": 5}),
    "deletion": _steady(Order(do=Do.DELETE, step=3), steps=20),
    "deletion in the foreground": _steady(Order(do=Do.DELETE_FOREGROUND, step=3), steps=20),
    "a new job of the name": _steady(Order(do=Do.DELETE, step=3), Order(do=Do.CREATE)),
}


def sweep(history: Plan, writes: int) -> Iterator[Plan]:
    """Each fault at each of so many writes, one at a time."""
    for write in range(writes):
        for kind in Kind:
            yield history.with_faults(Fault(write=write, kind=kind))
