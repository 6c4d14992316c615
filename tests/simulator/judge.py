"""Whether a plan went well, and the smallest plan that goes wrong as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from tests.simulator.plans import Do, Plan
from tests.simulator.world import End, Outcome, run

_MAY_FAIL = (Do.EXIT, Do.DEADLINE, Do.EVICT)
_RESTART = (Do.EXIT, Do.EVICT, Do.NODES)


def complaints(plan: Plan) -> list[str]:
    """What went wrong, in words; nothing if all went well."""
    outcome = run(plan)
    wrong = list(outcome.wrong)
    if plan.steady:
        wrong += _unlike(outcome, without_faults(plan.with_faults()))
    for name, end in outcome.ends.items():
        wrong += [f"{name}: {problem}" for problem in _uncaused(plan, name, end)]
    return wrong


@cache
def _without_faults(text: str) -> Outcome:
    return run(Plan.model_validate_json(text))


def without_faults(plan: Plan) -> Outcome:
    """Of the plan without its faults; run once."""
    return _without_faults(plan.with_faults().text())


def smallest(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Faults, orders and jobs are left out one by one, as long as it still fails."""
    for smaller in _smaller(plan):
        if fails(smaller):
            return smallest(smaller, fails)
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for field in ("faults", "orders"):
        parts = getattr(plan, field)
        for number in range(len(parts)):
            yield plan.model_copy(update={field: parts[:number] + parts[number + 1 :]})
    for job in plan.jobs if len(plan.jobs) > 1 else ():
        jobs = tuple(other for other in plan.jobs if other != job)
        orders = tuple(order for order in plan.orders if order.job != job.name)
        yield plan.model_copy(update={"jobs": jobs, "orders": orders})


def _unlike(outcome: Outcome, without: Outcome) -> Iterator[str]:
    for name, end in outcome.ends.items():
        if end != without.ends[name]:
            yield f"{name} ended as {end}, and without the fault as {without.ends[name]}"


def _uncaused(plan: Plan, name: str, end: End) -> Iterator[str]:
    """An end, or a restart, that nobody gave a cause for."""
    done = [order.do for order in plan.orders if order.job == name]
    if end.state.startswith("Failed") and not any(do in _MAY_FAIL for do in done):
        yield f"it ended as {end.state}, and nothing had happened to it"
    causes = sum(do in _RESTART for do in done)
    if end.restarts > causes:
        yield f"it was started again {end.restarts} times, for {causes} causes"
