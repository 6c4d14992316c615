"""A real API server takes the definition, and refuses what the models refuse."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from insitu.api import Spec, load_manifest
from insitu.errors import ConfigurationError
from testbed.cluster import Cluster, KubectlFailed
from tests.cluster.definitions import CRD, NAME, define
from tests.cluster.job_strategies import with_any_text, with_each_fault
from tests.cluster.manifests import Space
from tests.cluster.trainingjobs import CASSANDRA, IGNITE, Server, changed

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
DIGITS = yaml.safe_load((ROOT / "examples" / "digits" / "job.yaml").read_text())


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[Server]:
    """Knows the definition until the module ends."""
    define(cluster)
    server = Server.of(cluster)
    cluster.wait(lambda: server.complaint(IGNITE))
    yield server
    server.connection.close()
    cluster.kubectl("delete", "-f", str(CRD))


@pytest.fixture
def digits(server: Server, space: Space) -> Space:
    """A namespace with the digits job."""
    space.apply(copy.deepcopy(DIGITS))
    return space


def test_the_definition_is_established_and_structural(server: Server, cluster: Cluster) -> None:
    found = json.loads(cluster.kubectl("get", "crd", NAME, "-o", "json"))
    conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_what_the_server_fills_in_is_what_the_models_fill_in(digits: Space) -> None:
    kept = json.loads(digits.kubectl("get", "tjob", "digits", "-o", "json"))
    assert load_manifest(json.dumps(kept)).spec == load_manifest(json.dumps(DIGITS)).spec
    assert kept["spec"]["placement"]["onTopologyChange"] == "Replan"
    assert "status" not in kept


def test_applying_a_job_again_changes_nothing(digits: Space) -> None:
    again = digits.kubectl("apply", "-f", str(ROOT / "examples" / "digits" / "job.yaml"))
    assert again == "trainingjob.insitu.dev/digits unchanged\n"


def test_the_columns_are_those_that_people_look_for(digits: Space) -> None:
    title, row = digits.kubectl("get", "tjob").splitlines()
    shown = " ".join(title.split())
    assert shown == "NAME STATUS NODES PROGRESS ETA STEP RESTARTS AGE"
    assert row.startswith("digits")
    assert "digits" in digits.kubectl("get", "ml")


def test_every_field_of_the_spec_is_explained(server: Server, cluster: Cluster) -> None:
    text = " ".join(cluster.kubectl("explain", "tjob.spec").split())
    assert not [
        field.alias
        for field in Spec.model_fields.values()
        if " ".join((field.description or "?").split()) not in text
    ]


CHOICES = {
    "spec.data.cassandra": (
        CASSANDRA["spec"]["data"]["cassandra"],
        "exactly one of `ignite` and `cassandra` must be set",
    ),
    "spec.data.ignite.service": (
        {"name": "ignite", "port": 10800},
        "exactly one of `service` and `endpoints` must be set",
    ),
    "spec.checkpoint.store.s3": (
        {"bucket": "models"},
        "exactly one of `s3` and `persistentVolumeClaim` must be set",
    ),
}


@pytest.mark.parametrize("path", CHOICES)
def test_both_of_a_choice_are_refused_with_our_words(server: Server, path: str) -> None:
    value, message = CHOICES[path]
    assert message in (server.complaint(changed(IGNITE, path, value)) or "")


@pytest.mark.parametrize("name", ["a" * 53, "1st", "a.b"])
def test_a_name_that_pods_can_not_have_is_refused(server: Server, name: str) -> None:
    complaint = server.complaint(changed(IGNITE, "metadata.name", name))
    assert "`metadata.name` must have at most 52 characters" in (complaint or "")


CHANGES: Mapping[str, object] = {
    "data.onChange": "Continue",
    "placement.maxRanks": 2,
    "trainer.image": "another",
    "training.seed": 8,
    "failurePolicy.backoffLimit": 9,
    "managedBy": "example.org/other",
    "checkpoint.everySteps": 1,
    "checkpoint.resumeFrom": 1,
    "checkpoint.store.persistentVolumeClaim.claimName": "other",
}


@pytest.mark.parametrize("path", CHANGES)
def test_what_ranks_were_planned_for_may_not_change(digits: Space, path: str) -> None:
    blamed = ".".join(path.split(".")[: 2 if path.startswith("checkpoint") else 1])
    with pytest.raises(KubectlFailed) as refused:
        patch(digits, path, CHANGES[path])
    assert f"spec.{blamed}: Invalid value" in str(refused.value)
    assert f"`{blamed.split('.')[-1]}` may not change after the job was created" in str(
        refused.value
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("suspend", True),
        ("activeDeadlineSeconds", 9),
        ("startDeadlineSeconds", 9),
        ("ttlSecondsAfterFinished", 9),
        ("checkpoint.keepLast", 9),
    ],
)
def test_what_steers_a_running_job_may_change(digits: Space, path: str, value: object) -> None:
    assert "patched" in patch(digits, path, value)


def patch(space: Space, path: str, value: object) -> str:
    change = json.dumps(changed({}, f"spec.{path}", value))
    return space.kubectl(
        "patch", "tjob", "digits", "--type=merge", "--dry-run=server", "-p", change
    )


def test_at_every_bound_the_server_and_the_models_agree(server: Server) -> None:
    different = [found for job in with_each_fault() if (found := difference(server, job))]
    assert not different


@given(job=with_any_text())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_server_and_the_models_read_patterns_alike(server: Server, job: dict[str, Any]) -> None:
    assert not difference(server, job)


def difference(server: Server, job: dict[str, Any]) -> str | None:
    """What the one that refuses the job says, if the other accepts it."""
    try:
        load_manifest(json.dumps(job))
        ours = None
    except ConfigurationError as problem:
        ours = str(problem)
    theirs = server.complaint(job)
    if (ours is None) == (theirs is None):
        return None
    return f"the models: {ours}; the server: {theirs}"
