"""The operator's passes on a real API server, with real pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.cluster import Cluster, Image, layer
from testbed.cluster.kubectl import Kubectl, KubectlFailed
from tests.cluster.accounts import account, rule
from tests.cluster.definitions import NAME, define
from tests.cluster.fixed_database import FixedDatabase, topology
from tests.cluster.job_operators import (
    JobSpace,
    Running,
    annotated_meanwhile,
    dead_after_one_binding,
    operator,
)
from tests.cluster.manifests import Space

pytestmark = pytest.mark.cluster

SUPERVISOR = '#!/bin/sh\nshift\nexec "$@"\n'
READS = (
    rule("get list watch", "trainingjobs", "insitu.dev"),
    rule("patch", "trainingjobs/status", "insitu.dev"),
    rule("list watch patch", "pods"),
    rule("get create update", "configmaps"),
    rule("get create", "services"),
    rule("list watch", "endpointslices", "discovery.k8s.io"),
    rule("list create", "events", "events.k8s.io"),
)


@pytest.fixture(scope="module")
def trainer(cluster: Cluster, python: Image, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of an image whose supervisor only runs the command."""
    folder = tmp_path_factory.mktemp("trainer")
    script = folder / "insitu-run"
    script.write_text(SUPERVISOR)
    script.chmod(0o755)
    own = layer(folder / "layer.tar", {"/usr/local/bin/insitu-run": script})
    cluster.load_image(Image("insitu.test/stand-in:1", (*python.layers, own)))
    return "insitu.test/stand-in:1"


@pytest.fixture(scope="module")
def definition(cluster: Cluster) -> None:
    define(cluster)


@pytest.fixture
def jobs(
    space: Space, definition: None, trainer: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[JobSpace]:
    monkeypatch.setenv("KUBECONFIG", str(space.cluster.kubeconfig))
    yield JobSpace(space, trainer)
    space.kubectl("delete", "tjob", "--all", "--wait=false")


@pytest.fixture
def database(jobs: JobSpace) -> FixedDatabase:
    return FixedDatabase(topology(jobs.addresses))


@pytest.fixture
def running(jobs: JobSpace, database: FixedDatabase) -> Iterator[Running]:
    with operator(jobs.space, database) as running:
        yield running


def test_each_rank_runs_beside_its_database_node(jobs: JobSpace, running: Running) -> None:
    jobs.create()
    jobs.until_it_runs()
    names = sorted(node.name for node in jobs.space.cluster.nodes)
    assert jobs.placed() == dict(enumerate(names))
    status = jobs.status()
    assert status["summary"]["nodes"] == "3/3 local"
    assert [node["node"] for node in status["nodes"]] == names


def test_the_plan_is_recorded_before_the_first_pod_is_bound(
    jobs: JobSpace, running: Running
) -> None:
    jobs.create()
    jobs.until_it_runs()
    done = [(verb, resource) for verb, resource, status in running.requests if status < 300]
    recorded = done.index(("create", "configmaps"))
    created = done.index(("create", "jobs"))
    bound = [at for at, request in enumerate(done) if request == ("patch", "pods")]
    assert recorded < created < min(bound)
    assert len(bound) == 3
    assert jobs.plan()["generation"] == 1


def test_ten_pods_are_bound_with_few_requests_and_rest_costs_none(
    jobs: JobSpace, database: FixedDatabase, running: Running
) -> None:
    database.found = topology((jobs.addresses * 4)[:10])
    running.settled(4.0)
    before = len(running.requests)
    jobs.create()
    jobs.until_it_runs()
    running.settled(5.0)
    asked = running.requests[before:]
    last = max(at for at, request in enumerate(asked) if request[:2] == ("patch", "pods"))
    assert len(asked[: last + 1]) + len(["status", "Event"]) <= 22, running.counted
    at_rest = len(running.requests)
    jobs.space.kubectl("annotate", "tjob", "digits", "of=no-concern")
    running.settled(5.0)
    assert len(running.requests) == at_rest


def test_what_happens_is_told_in_events(jobs: JobSpace, running: Running) -> None:
    jobs.create()
    jobs.until_it_runs()
    jobs.until(lambda: {"Bound", "Running"} <= jobs.told(), "Events")


def test_a_right_that_is_missing_is_named(
    jobs: JobSpace, database: FixedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = account(jobs.space, tmp_path, *READS)
    jobs.let_see_nodes("limited")
    monkeypatch.setenv("KUBECONFIG", str(limited))
    jobs.create()
    with operator(jobs.space, database):
        said = jobs.until_says("KubernetesRefused")
        assert "may not create batch jobs" in said
        assert "grant its service account the verb create on jobs (API group batch)" in said
        account(jobs.space, tmp_path, *READS, rule("create get patch", "jobs", "batch"))
        jobs.until_it_runs()


def test_a_quota_that_is_used_up_is_named_and_waited_for(jobs: JobSpace, running: Running) -> None:
    jobs.space.kubectl("create", "quota", "small", "--hard=pods=1")
    jobs.create()
    said = jobs.until_says("KubernetesRefused")
    assert "exceeded quota: small" in said
    assert not jobs.placed()
    jobs.space.kubectl("delete", "quota", "small")
    jobs.until_it_runs()


def test_a_service_that_is_missing_is_named_and_waited_for(
    jobs: JobSpace, database: FixedDatabase, running: Running
) -> None:
    reach = {"service": {"name": "ignite", "port": 80}, "cache": "DIGITS"}
    jobs.create(data={"ignite": reach})
    said = jobs.until_says("SourceInvalid", "Stalled")
    assert f"Service 'ignite' is not there in namespace '{jobs.space.name}'" in said
    jobs.serve("ignite", port=80, target=10800, ready=False)
    assert "3 not ready" in jobs.until_says("DatabaseUnavailable")
    jobs.serve("ignite", port=80, target=10800)
    jobs.until_it_runs()
    assert set(database.opened[-1].endpoints) == {(ip, 10800) for ip in jobs.addresses}


def test_a_secret_that_is_missing_is_named_and_waited_for(
    jobs: JobSpace, database: FixedDatabase, running: Running
) -> None:
    reach = {"endpoints": jobs.endpoints, "cache": "C", "credentials": {"secretName": "login"}}
    jobs.create(data={"ignite": reach})
    assert "Secret 'login' is not there" in jobs.until_says("SourceInvalid", "Stalled")
    values = ["--from-literal=username=ann", "--from-literal=password=s3cret"]
    jobs.space.kubectl("create", "secret", "generic", "login", *values)
    kept = "may not be sent to host"
    jobs.until(lambda: kept in str(jobs.condition("Stalled").get("message")), "it is kept back")
    hosts = ",".join(endpoint.partition(":")[0] for endpoint in jobs.endpoints)
    jobs.space.kubectl("annotate", "secret", "login", f"insitu.dev/hosts={hosts}")
    jobs.until_it_runs()
    login = database.opened[-1].credentials
    assert login is not None
    assert (login.username, login.password) == ("ann", "s3cret")
    assert "s3cret" not in json.dumps([jobs.all(kind) for kind in ("pods", "cm", "tjob", "jobs")])


def test_a_foreign_job_of_the_same_name_is_left_alone(jobs: JobSpace, running: Running) -> None:
    jobs.space.gated_job("digits-g1", 1, "test/gate", "pass")
    foreign = jobs.get("job", "digits-g1")["metadata"]["uid"]
    jobs.create()
    said = jobs.until_says("KubernetesRefused")
    assert "Job 'digits-g1'" in said
    assert "belongs to nobody, not to this job" in said
    assert jobs.get("job", "digits-g1")["metadata"]["uid"] == foreign
    jobs.space.kubectl("delete", "job", "digits-g1")
    jobs.until_it_runs()


def test_a_job_that_was_deleted_leaves_nothing_and_costs_nothing(
    jobs: JobSpace, running: Running
) -> None:
    jobs.create()
    jobs.until_it_runs()
    jobs.space.kubectl("delete", "tjob", "digits")
    jobs.until(lambda: not jobs.pods() and not jobs.all("jobs"), "nothing is left")
    assert [s["metadata"]["name"] for s in jobs.all("services")] == []
    at_rest = len(running.requests)
    running.settled(5.0)
    assert len(running.requests) == at_rest


def test_a_job_that_is_deleted_and_made_again_starts_from_nothing(
    jobs: JobSpace, running: Running
) -> None:
    jobs.create()
    jobs.until_it_runs()
    first = jobs.get("tjob", "digits")["metadata"]["uid"]
    jobs.space.kubectl("delete", "tjob", "digits")
    jobs.create()
    jobs.until_it_runs()
    owners = {pod["metadata"]["labels"]["insitu.dev/job-uid"] for pod in jobs.living()}
    assert owners == {jobs.get("tjob", "digits")["metadata"]["uid"]} != {first}
    assert jobs.plan()["generation"] == 1


def test_a_namespace_that_is_deleted_is_no_trouble(jobs: JobSpace, running: Running) -> None:
    jobs.create()
    jobs.until_it_runs()
    jobs.space.kubectl("delete", "namespace", jobs.space.name, "--timeout=60s")
    at_rest = len(running.requests)
    running.settled(5.0)
    assert len(running.requests) == at_rest
    jobs.space.kubectl("create", "namespace", jobs.space.name)


def test_a_version_that_is_out_of_date_is_read_again(
    jobs: JobSpace, database: FixedDatabase
) -> None:
    with operator(jobs.space, database, annotated_meanwhile(jobs)) as running:
        jobs.create()
        jobs.until_it_runs()
    assert ("patch", "trainingjobs", 409) in running.requests
    assert len(jobs.pods()) == 3


def test_an_operator_that_dies_while_it_binds_is_followed_by_one_that_goes_on(
    jobs: JobSpace, database: FixedDatabase
) -> None:
    with operator(jobs.space, database, dead_after_one_binding):
        jobs.create()
        jobs.until(lambda: jobs.placed(), "one pod is bound")
    pods, plan = {pod["metadata"]["uid"] for pod in jobs.pods()}, jobs.plan()
    with operator(jobs.space, database):
        jobs.until_it_runs()
    assert {pod["metadata"]["uid"] for pod in jobs.pods()} == pods
    assert jobs.plan() == plan
    assert len(jobs.placed()) == 3


def test_an_operator_that_starts_again_changes_nothing(
    jobs: JobSpace, database: FixedDatabase
) -> None:
    with operator(jobs.space, database):
        jobs.create()
        jobs.until_it_runs()
    before = jobs.get("tjob", "digits")
    with operator(jobs.space, database) as again:
        again.settled(5.0)
    assert jobs.get("tjob", "digits") == before
    assert [request for request in again.requests if request[0] not in ("get", "list")] == []


def test_a_pod_that_is_lost_is_replaced_by_a_new_generation(
    jobs: JobSpace, running: Running
) -> None:
    jobs.create()
    jobs.until_it_runs()
    victim = jobs.pods()[0]["metadata"]["name"]
    jobs.space.kubectl("delete", "pod", victim, "--wait=false")
    jobs.until(lambda: jobs.status().get("generation") == 2, "the second generation")
    jobs.until_it_runs()
    assert [job["metadata"]["name"] for job in jobs.all("jobs")] == ["digits-g2"]
    assert len(jobs.placed()) == 3


def test_a_suspended_job_holds_no_pods_and_resumes(jobs: JobSpace, running: Running) -> None:
    jobs.create()
    jobs.until_it_runs()
    jobs.change(suspend=True)
    jobs.until(lambda: jobs.doing() == "Suspended" and not jobs.pods(), "it is suspended")
    at_rest = len(running.requests)
    running.settled(5.0)
    assert len(running.requests) <= at_rest + 4
    jobs.change(suspend=False)
    jobs.until_it_runs()
    assert jobs.status()["restarts"] == 0


def test_a_job_of_another_controller_is_never_touched(jobs: JobSpace, running: Running) -> None:
    running.settled(4.0)
    before = len(running.requests)
    jobs.create(managedBy="kueue.x-k8s.io/multikueue")
    running.settled(3.0)
    assert len(running.requests) == before
    assert jobs.status() == {}


def explained(kubectl: Kubectl) -> str:
    """Of a job's spec; empty while the API server has yet to tell of a definition that is new."""
    try:
        return kubectl("explain", "tjob.spec")
    except KubectlFailed:
        return ""


def test_a_job_that_this_version_cant_read_is_said_to_be_so(
    jobs: JobSpace, running: Running
) -> None:
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/fromTheFuture"
    patch: dict[str, Any] = {"op": "add", "path": path, "value": {"type": "string"}}
    kubectl = jobs.space.cluster.kubectl
    kubectl("patch", f"crd/{NAME}", "--type=json", "-p", json.dumps([patch]))
    try:
        jobs.until(lambda: "fromTheFuture" in explained(kubectl), "the definition")
        jobs.create(fromTheFuture="x")
        said = jobs.until_says("ObjectInvalid", "Stalled")
        assert "spec.fromTheFuture: unknown field" in said
        # The API server may have shown the job without the field at first.
        jobs.until(lambda: not jobs.pods(), "that nothing of it is left")
    finally:
        remove = {"op": "remove", "path": path}
        kubectl("patch", f"crd/{NAME}", "--type=json", "-p", json.dumps([remove]))


def test_a_job_that_has_ended_is_deleted_after_its_time(jobs: JobSpace, running: Running) -> None:
    trainer = {"image": jobs.image, "command": ["true"]}
    jobs.create(trainer=trainer, ttlSecondsAfterFinished=1)
    jobs.until(lambda: not jobs.all("tjob"), "it is gone")
    assert "Complete" in jobs.told()
