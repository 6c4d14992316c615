"""What the pods on a machine request of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from insitu_operator.core.objects.names import JOB_UID
from insitu_operator.core.objects.owners import Json
from insitu_operator.core.objects.quantities import quantity

Amounts = Mapping[str, Decimal]
"""Resource to value in units."""

_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Tenant:
    """What one pod takes up. `job_uid` is empty where it is no trainer."""

    job_uid: str
    requested: Amounts


def tenants(pods: Iterable[Json]) -> tuple[Tenant, ...]:
    """Of those pods on one machine that still hold what they requested."""
    return tuple(
        Tenant((pod["metadata"].get("labels") or {}).get(JOB_UID, ""), _requested(pod["spec"]))
        for pod in pods
        if (pod.get("status") or {}).get("phase") not in _ENDED
    )


def taken(
    found: Iterable[Tenant], job_uid: str, promised: Mapping[str, Amounts] | None = None
) -> dict[str, Decimal]:
    """What all but the trainers of one job request together.

    `promised` is what trainers of other jobs are about to request there, by the uid of their job;
    those of them that are there already are not counted twice.
    """
    total: dict[str, Decimal] = {}
    of_job: dict[str, dict[str, Decimal]] = {}
    for tenant in found:
        if not tenant.job_uid:
            _add(total, tenant.requested)
        elif tenant.job_uid != job_uid:
            _add(of_job.setdefault(tenant.job_uid, {}), tenant.requested)
    for uid, amounts in (promised or {}).items():
        if uid != job_uid:
            there = of_job.setdefault(uid, {})
            there.update({n: max(v, there.get(n, Decimal())) for n, v in amounts.items()})
    for requested in of_job.values():
        _add(total, requested)
    return total


def _requested(spec: Json) -> dict[str, Decimal]:
    """As the scheduler counts: containers and sidecars together, or one that goes before them.

    Source: kubernetes, component-helpers/resource/helpers.go.
    """
    together: dict[str, Decimal] = {}
    for container in spec.get("containers") or []:
        _add(together, _of(container))
    before: dict[str, Decimal] = {}
    sidecars: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or []:
        beside = dict(sidecars)
        _add(beside, _of(container))
        for name, value in beside.items():
            before[name] = max(before.get(name, Decimal()), value)
        if container.get("restartPolicy") == "Always":
            sidecars = beside
    _add(together, sidecars)
    for name, value in before.items():
        together[name] = max(together.get(name, Decimal()), value)
    _add(together, _amounts(spec.get("overhead")))
    return together


def _of(container: Json) -> dict[str, Decimal]:
    return _amounts((container.get("resources") or {}).get("requests"))


def _amounts(texts: Mapping[str, str] | None) -> dict[str, Decimal]:
    return {name: quantity(text) for name, text in (texts or {}).items()}


def _add(to: dict[str, Decimal], what: Amounts) -> None:
    for name, value in what.items():
        to[name] = to.get(name, Decimal()) + value
