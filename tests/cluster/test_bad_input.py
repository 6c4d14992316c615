"""What users and clusters do wrong is said in the job's conditions, and put right it goes on."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from testbed.cluster import Cluster, Image, ignite
from tests.cluster.conftest import NAMES
from tests.cluster.sites import Release, Site, restricted
from tests.cluster.submitted import PATIENCE_SECONDS, Json
from tests.cluster.witness import witness
from tests.databases.jobs import fill

pytestmark = [pytest.mark.cluster, pytest.mark.ignite, pytest.mark.timeout(1200)]

WAIT = ("sleep", "600")
GPU = "example.org/gpu"


@dataclass(frozen=True)
class Fragile:
    """A database of two pods that tests may take rows from, and the namespace it is in."""

    site: Site
    database: ignite.Database

    def lose_rows(self) -> None:
        """Those of one pod, which is replaced."""
        self.database.delete(self.database.pods[1].name)
        self.database.wait_ready(PATIENCE_SECONDS)

    def fill(self, table: str, template: str) -> None:
        fill(self.database, table, 100, backups=0, template=template)


@pytest.fixture(scope="module")
def fragile(equipped: Cluster, release: Release, trainer_image: Image) -> Iterator[Fragile]:
    with restricted(equipped, trainer_image.name, "fragile") as space:
        yield Fragile(Site(space), ignite.start(equipped, space.name, 2))


@contextmanager
def cordoned(cluster: Cluster, node: str) -> Iterator[None]:
    cluster.kubectl("cordon", node)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", node)


@contextmanager
def one_gpu_each(cluster: Cluster) -> Iterator[None]:
    """Each node has one of something."""
    try:
        _capacity(cluster, "1")
        yield
    finally:
        _capacity(cluster, None)


def _capacity(cluster: Cluster, amount: str | None) -> None:
    patch = json.dumps({"status": {"capacity": {GPU: amount}, "allocatable": {GPU: amount}}})
    for name in NAMES:
        cluster.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", patch)


def secret(name: str, **values: str) -> Json:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    metadata = {"name": name, "annotations": {"insitu.dev/hosts": "*"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}


def test_a_service_that_is_missing(guest: Site, shared_ignite: ignite.Database) -> None:
    guest.space.kubectl("delete", "service,endpointslice", guest.service)
    job = guest.submit()
    said = job.until_says("SourceInvalid", "Service 'ignite' is not there")
    assert f"in namespace '{guest.space.name}'" in said
    assert job.condition("Stalled")["status"] == "True"
    guest.serve(shared_ignite)
    job.until_complete()


def test_a_secret_that_is_in_another_namespace(guest: Site) -> None:
    login = secret("login", username="ann", password="s3cret")
    guest.space.cluster.kubectl("apply", "-n", "default", "-f", "-", input=json.dumps(login))
    job = guest.submit(data=guest.data(credentials={"secretName": "login"}))
    said = job.until_says("SourceInvalid", "Secret 'login' is not there")
    assert f"in namespace '{guest.space.name}'" in said
    guest.space.apply(login)
    job.until_complete()
    assert "s3cret" not in json.dumps([job.body, *job.pods().values()])


def test_a_secret_that_lacks_a_key(guest: Site) -> None:
    guest.space.apply(secret("login", user="ann", password="s3cret"))
    job = guest.submit(data=guest.data(credentials={"secretName": "login"}))
    job.until_says("SourceInvalid", "secret 'login' has no key 'username'")
    guest.space.apply(secret("login", username="ann", password="s3cret"))
    job.until_complete()


def test_a_table_that_is_missing(guest: Site) -> None:
    job = guest.submit(data=guest.data("RWOS"))
    job.until_says("SourceInvalid", "RWOS", "ROWS")
    job.delete()
    guest.submit().until_complete()


def test_database_pods_that_are_not_ready(guest: Site, shared_ignite: ignite.Database) -> None:
    guest.serve(shared_ignite, ready=False)
    job = guest.submit()
    job.until_says("DatabaseUnavailable", "Service 'ignite'", "3 not ready")
    guest.serve(shared_ignite)
    job.until_complete()


def test_partitions_that_are_lost(fragile: Fragile) -> None:
    fragile.fill("LOST", "safe")
    fragile.lose_rows()
    job = fragile.site.submit("lost", data=fragile.site.data("LOST"))
    job.until_says("PartitionsLost", "A partition has lost all its copies")
    assert job.machines() == {}
    fragile.database.sql("DROP TABLE LOST")
    fragile.fill("LOST", "safe")
    job.until_complete()
    job.delete()


def test_rows_that_are_lost_in_mid_job(fragile: Fragile) -> None:
    fragile.fill("EMPTIED", "p")
    site = fragile.site
    job = site.submit("emptied", data=site.data("EMPTIED"), trainer=site.trainer(*WAIT))
    job.until("Running")
    fragile.lose_rows()
    reason, said = job.until_failed()
    assert reason == "DataLost"
    assert "but had 100 when the job first counted them" in said
    assert "more database nodes were lost than there are backups" in said
    job.delete()


def test_a_cordoned_node_holds_back_the_whole_gang(guest: Site) -> None:
    with cordoned(guest.space.cluster, "heron"):
        job = guest.submit()
        job.until_says("MachineNotReady", "heron", "is cordoned", "kubectl uncordon")
        assert job.machines() == {}
    job.until_complete()


def test_a_request_that_no_node_can_fulfil(guest: Site) -> None:
    huge = guest.trainer("true", resources={"requests": {"memory": "900Ti"}})
    job = guest.submit(trainer=huge)
    said = job.until_says("MachineNotReady", "has too little memory", "900Ti are requested")
    assert all(name in said for name in NAMES)
    assert job.machines() == {}
    job.delete()
    guest.submit().until_complete()


def test_room_that_other_pods_take_up(guest: Site) -> None:
    limits = {"limits": {GPU: "1"}}
    with one_gpu_each(guest.space.cluster):
        taker = guest.submit("taker", trainer=guest.trainer(*WAIT, resources=limits))
        taker.until("Running")
        job = guest.submit(trainer=guest.trainer("true", resources=limits))
        said = job.until_says("MachineNotReady", f"has too little {GPU}")
        assert "of which other pods request 1" in said
        assert job.machines() == {}
        taker.delete()
        job.until_complete()


def test_an_image_that_can_not_be_pulled(guest: Site) -> None:
    job = guest.submit(trainer=guest.trainer("true", image="insitu.test/none:1"))
    job.until_says("Starting", "rank 0 on ", ": image insitu.test/none:1 can't be pulled")
    job.delete()
    guest.submit().until_complete()


def test_a_secret_of_the_script_that_lacks_a_key(guest: Site) -> None:
    guest.space.apply(secret("tokens", hub="a"))
    source = {"secretKeyRef": {"name": "tokens", "key": "tracker"}}
    variable = {"name": "TRACKER", "valueFrom": source}
    job = guest.submit(trainer=guest.trainer("true", env=[variable]))
    job.until_says("Starting", "CreateContainerConfigError", "couldn't find key tracker", "tokens")
    guest.space.apply(secret("tokens", hub="a", tracker="b"))
    job.until_complete()


def test_a_script_that_needs_more_memory_than_it_may_have(guest: Site) -> None:
    greedy = ("python", "-c", "b'x' * (1 << 30)")
    trainer = guest.trainer(*greedy, resources={"limits": {"memory": "96Mi"}})
    job = guest.submit(trainer=trainer, failurePolicy={"backoffLimit": 0})
    reason, said = job.until_failed()
    assert reason == "BackoffLimitExceeded"
    assert "it needed more memory than its limit, 96Mi" in said


def test_a_script_that_crashes_is_quoted(guest: Site) -> None:
    script = "print('reading the labels'); raise RuntimeError('label 11 is no digit')"
    job = guest.submit(
        trainer=guest.trainer("python", "-c", script), failurePolicy={"backoffLimit": 0}
    )
    reason, said = job.until_failed()
    assert reason == "BackoffLimitExceeded"
    assert "ended with exit code 1" in said
    assert "    reading the labels\n" in said
    assert said.endswith("    RuntimeError: label 11 is no digit")


def test_a_command_that_is_not_there(guest: Site) -> None:
    reason, said = guest.submit(trainer=guest.trainer("trian")).until_failed()
    assert reason == "ConfigurationRefused"
    assert "can't start 'trian'" in said


def test_a_quota_that_is_used_up(guest: Site) -> None:
    guest.space.kubectl("create", "quota", "small", "--hard=pods=1")
    job = guest.submit()
    job.until_says("KubernetesRefused", "exceeded quota: small", "pods=1")
    assert job.machines() == {}
    guest.space.kubectl("delete", "quota", "small")
    job.until_complete()


def test_an_operator_that_lacks_a_right(guest: Site, release: Release) -> None:
    with release.without("create", "jobs"):
        job = guest.submit()
        said = job.until_says("KubernetesRefused", "may not create batch jobs")
        assert "the verb create on jobs (API group batch)" in said
    job.until_complete()


@pytest.mark.parametrize("moment", ["pending", "running", "finishing"])
def test_a_job_that_is_deleted_leaves_nothing(guest: Site, release: Release, moment: str) -> None:
    one_ends = ("sh", "-c", '[ "$RANK" = 0 ] || sleep 600')
    job = guest.submit(trainer=guest.trainer(*(one_ends if moment == "finishing" else WAIT)))
    match moment:
        case "running":
            job.until("Running")
        case "finishing":
            job.space.cluster.wait(
                lambda: None if job.status["workers"]["succeeded"] else "no rank has ended"
            )
    job.delete()
    assert release.complaints() == []


def test_a_namespace_that_is_deleted_under_a_job(guest: Site, home: Site, release: Release) -> None:
    guest.submit(trainer=guest.trainer(*WAIT)).until("Running")
    guest.space.kubectl("delete", "namespace", guest.space.name, "--timeout=120s")
    after = home.submit("after")
    after.until_complete()
    after.delete()
    assert release.complaints() == []


def test_a_node_that_is_drained_in_mid_job(home: Site, shared_ignite: ignite.Database) -> None:
    cluster = home.space.cluster
    ask = "import os, urllib.request; urllib.request.urlopen(os.environ['WITNESS'])"
    with witness(cluster.host) as heard:
        variable = {"name": "WITNESS", "value": heard.url}
        job = home.submit("drained", trainer=home.trainer("python", "-c", ask, env=[variable]))
        job.until("Running")
        drain = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
        try:
            cluster.kubectl("drain", "heron", *drain)
            job.until_generation(2)
            assert set(job.machines().values()) == {"quail", "raven"}
        finally:
            cluster.kubectl("uncordon", "heron")
            shared_ignite.wait_settled(240)
        heard.go()
        job.until_complete()
    job.delete()


def test_the_same_manifest_twice_changes_nothing(guest: Site) -> None:
    job = guest.submit(trainer=guest.trainer(*WAIT))
    job.until("Running")
    before = job.body
    guest.submit(trainer=guest.trainer(*WAIT))
    assert job.body == before
    job.change(suspend=True)
    job.until("Suspended")
    done = guest.submit("done")
    done.until_complete()
    before = done.body
    guest.submit("done")
    assert done.body == before
