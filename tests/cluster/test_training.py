"""Every row enters committed steps exactly once per epoch, whatever happens in the cluster."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed import s3
from testbed.cluster import Image
from tests.audit import committed, lineage, once_each
from tests.cluster.conftest import ROWS
from tests.cluster.databases import KINDS, Database
from tests.cluster.manifests import Space
from tests.cluster.sites import Release, Site
from tests.cluster.submitted import Json, Submitted
from tests.cluster.witness import Witness, witness

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.ignite,
    pytest.mark.cassandra,
    pytest.mark.timeout(1200),
]

SCRIPTS = {"Torch": "trainer_script.py", "TensorFlow": "tensorflow_script.py"}
EPOCHS = 3

on_both = pytest.mark.parametrize("ground", KINDS, indirect=True)


@dataclass(frozen=True)
class Ground:
    """A database, and its own namespace, where the jobs are."""

    site: Site
    database: Database


@dataclass(frozen=True)
class Training:
    """A job of 24 steps, 8 an epoch, that commits every fifth; and who sees what it does.

    `store` is the URL of its checkpoints, for this machine.
    """

    job: Submitted
    witness: Witness
    store: str
    database: Database

    def committed(self) -> Counter[tuple[int, int]]:
        """How often each (epoch, id) entered the parameters of the newest commit."""
        return committed(lineage(self.store, self.job.name), self.witness.lines)

    def ends_with_every_row_once(self) -> Json:
        """Lets it go on to its end; the status then."""
        self.witness.go()
        status = self.job.until_complete()
        assert self.committed() == once_each(ROWS, EPOCHS)
        assert status["trainerStatus"]["progressPercentage"] == 100
        assert status["locality"]["bytesRemote"] == 0
        assert status["locality"]["bytesLocal"] > 0
        return status


@pytest.fixture
def ground(request: pytest.FixtureRequest, release: Release, trainer_image: Image) -> Ground:
    """Of the kind that the test asks for; Ignite if it does not."""
    kind = KINDS[getattr(request, "param", "ignite")]
    database: Database = request.getfixturevalue(f"shared_{kind.name}")
    space = Space(release.chart.space.cluster, database.namespace, trainer_image.name)
    return Ground(Site(space, kind), database)


@pytest.fixture
def framework() -> str:
    return "Torch"


@contextmanager
def training(ground: Ground, framework: str, store: str, checkpoint: Json) -> Iterator[Training]:
    """Holds rank 0 up in the middle of the first epoch, two steps after a commit."""
    site, name = ground.site, f"job-{secrets.token_hex(2)}"
    with witness(site.space.cluster.host) as heard:
        heard.hold(generation=1, rank=0, step=7)
        code = {"train.py": Path(__file__).with_name(SCRIPTS[framework]).read_text()}
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        site.space.apply(config_map | {"data": code})
        job = site.submit(
            name,
            data=site.data(columns=["id", "x"]),
            trainer={
                "framework": framework,
                "command": ["python", "train.py"],
                "source": {"configMap": {"name": name}},
                "env": [{"name": "TEST_WITNESS", "value": heard.url}],
                "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "2Gi"}},
            },
            training={"epochs": EPOCHS, "globalBatchSize": 64, "seed": 3},
            checkpoint={"everySteps": 5, "keepLast": 100, "store": checkpoint},
        )
        try:
            yield Training(job, heard, store, ground.database)
            job.delete()
        finally:
            site.space.kubectl("delete", "tjob", name, "--ignore-not-found", "--wait=false")


@pytest.fixture
def on_s3(
    ground: Ground, framework: str, store: s3.Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Training]:
    """With checkpoints in a bucket."""
    bucket = f"bucket-{secrets.token_hex(4)}"
    store.create_bucket(bucket)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    keys = {"accessKeyId": store.access_key, "secretAccessKey": store.secret_key}
    ground.site.space.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3"}, "stringData": keys}
    )
    described = {
        "bucket": bucket,
        "prefix": "runs",
        "endpoint": store.endpoint,
        "region": store.region,
        "credentials": {"secretName": "s3"},
    }
    with training(ground, framework, f"s3://{bucket}/runs", {"s3": described}) as found:
        yield found


@pytest.fixture
def on_a_volume(ground: Ground, framework: str) -> Iterator[Training]:
    """With checkpoints in a volume that all nodes share."""
    space, name = ground.site.space, f"volume-{secrets.token_hex(4)}"
    folder = space.cluster.folder / name
    folder.mkdir()
    folder.chmod(0o777)
    size: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    try:
        space.cluster.kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": size | {"capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder)}},
            }
        )
        space.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name},
                "spec": size | {"volumeName": name, "resources": {"requests": {"storage": "1Gi"}}},
            }
        )
        claim = {"persistentVolumeClaim": {"claimName": name, "path": "runs"}}
        with training(ground, framework, f"file://{folder}/runs", claim) as found:
            yield found
    finally:
        space.kubectl("delete", "pvc", name, "--ignore-not-found", "--wait=false")
        space.cluster.kubectl("delete", "pv", name, "--wait=false")


@on_both
def test_a_trainer_that_is_told_to_leave_costs_no_row(on_s3: Training) -> None:
    on_s3.witness.until_held()
    on_s3.job.delete_pod(1)
    status = on_s3.ends_with_every_row_once()
    assert (status["restarts"], status["generation"]) == (1, 2)


def test_a_trainer_that_is_killed_costs_no_row(on_a_volume: Training) -> None:
    on_a_volume.witness.until_held()
    on_a_volume.job.delete_pod(1, "--force", "--grace-period=0")
    status = on_a_volume.ends_with_every_row_once()
    assert (status["restarts"], status["generation"]) == (1, 2)


@on_both
def test_a_database_pod_that_is_lost_costs_no_row(on_s3: Training) -> None:
    on_s3.witness.until_held()
    machine = on_s3.job.machines()[2]
    beside = next(pod.name for pod in on_s3.database.pods if pod.node == machine)
    on_s3.database.delete(beside)
    try:
        status = on_s3.ends_with_every_row_once()
        assert status["generation"] > 1
    finally:
        on_s3.database.wait_settled(240)


@pytest.mark.parametrize("framework", ["TensorFlow"])
@pytest.mark.parametrize("ground", ["cassandra"], indirect=True)
def test_a_tensorflow_worker_that_is_killed_costs_no_row(on_s3: Training) -> None:
    on_s3.witness.until_held()
    on_s3.job.delete_pod(1, "--force", "--grace-period=0")
    status = on_s3.ends_with_every_row_once()
    assert (status["restarts"], status["generation"]) == (1, 2)


def test_a_job_that_is_suspended_and_resumed_costs_no_row(on_a_volume: Training) -> None:
    job = on_a_volume.job
    on_a_volume.witness.until_held()
    job.change(suspend=True)
    job.until_says("Stopping", "writing a checkpoint", kind="Reconciling")
    on_a_volume.witness.go()
    job.until("Suspended")
    job.space.cluster.wait(lambda: "pods are left" if job.pods() else None)
    last = lineage(on_a_volume.store, job.name)[-1]
    assert 7 <= last.cursor.step < 24, "what was trained is committed"
    job.change(suspend=False)
    assert on_a_volume.ends_with_every_row_once()["restarts"] == 0


def test_training_goes_on_without_the_operator_and_the_status_catches_up(
    on_s3: Training, release: Release
) -> None:
    job, heard = on_s3.job, on_s3.witness
    heard.until_held()
    uids = _uids(job)
    with release.away():
        before = job.status
        heard.hold(generation=1, rank=0, step=18)
        heard.until_held()
        assert job.status == before
    # After 16 steps there was a commit, because the second epoch had ended.
    job.space.cluster.wait(
        lambda: None if job.status["trainerStatus"]["step"] >= 16 else "the status is an old one"
    )
    assert job.status["checkpoint"]["step"] == 16
    assert on_s3.ends_with_every_row_once()["restarts"] == 0
    assert _uids(job) == uids


def _uids(job: Submitted) -> set[str]:
    return {pod["metadata"]["uid"] for pod in job.pods().values()}
