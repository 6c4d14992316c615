"""What the pods on a machine request of it, as the scheduler counts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from insitu_operator.core.objects.owners import Json
from insitu_operator.core.objects.room import taken, tenants


def container(always: bool = False, **requests: str) -> Json:
    sidecar = {"restartPolicy": "Always"} if always else {}
    return {"name": "c", "resources": {"requests": requests}, **sidecar}


def pod(*containers: Json, job_uid: str = "", phase: str = "Running", **spec: Any) -> Json:
    labels = {"insitu.dev/job-uid": job_uid} if job_uid else {}
    return {
        "metadata": {"name": "p", "labels": labels},
        "spec": {"containers": list(containers), **spec},
        "status": {"phase": phase},
    }


def of(*pods: Json, job_uid: str = "mine") -> dict[str, Decimal]:
    return taken(tenants(pods), job_uid)


def test_the_containers_of_all_pods_count_together() -> None:
    found = of(
        pod(container(cpu="500m"), container(cpu="1", memory="1Ki")), pod(container(cpu="2"))
    )
    assert found == {"cpu": Decimal("3.5"), "memory": Decimal(1024)}


def test_trainers_of_the_job_itself_take_nothing_from_it() -> None:
    assert of(
        pod(container(cpu="1"), job_uid="mine"), pod(container(cpu="2"), job_uid="other")
    ) == {"cpu": Decimal(2)}


def test_a_pod_that_has_ended_holds_nothing() -> None:
    assert of(*(pod(container(cpu="1"), phase=phase) for phase in ("Succeeded", "Failed"))) == {}


def test_a_container_that_goes_before_counts_where_it_needs_more() -> None:
    first = container(cpu="3", memory="1")
    found = of(pod(container(cpu="1", memory="2"), initContainers=[first]))
    assert found == {"cpu": Decimal(3), "memory": Decimal(2)}


def test_a_sidecar_stays_beside_the_containers_and_those_that_start_after_it() -> None:
    beside, after = container(always=True, cpu="1"), container(cpu="4")
    assert of(pod(container(cpu="2"), initContainers=[beside])) == {"cpu": Decimal(3)}
    assert of(pod(container(cpu="2"), initContainers=[beside, after])) == {"cpu": Decimal(5)}


def test_what_the_runtime_itself_needs_counts() -> None:
    assert of(pod(container(cpu="1"), overhead={"cpu": "250m"})) == {"cpu": Decimal("1.25")}


def test_a_pod_without_requests_takes_nothing() -> None:
    assert of(pod({"name": "c"})) == {}
