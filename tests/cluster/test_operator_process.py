"""The whole operator as a process: how it leads, ends and is replaced."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from insitu.databases import Database, DataSource
from insitu.errors import DatabaseUnavailable
from insitu_operator.shell.replica import Exit
from testbed.cluster import Cluster
from tests.cluster.accounts import account, rule
from tests.cluster.definitions import CRD, define
from tests.cluster.manifests import Space
from tests.cluster.operators import LEASE, inside, running, until
from tests.cluster.watch_proxy import proxy

ROOT = Path(__file__).parents[2]
DIGITS = yaml.safe_load((ROOT / "examples" / "digits" / "job.yaml").read_text())


@pytest.fixture(scope="module")
def definition(cluster: Cluster) -> Iterator[None]:
    define(cluster)
    yield
    cluster.kubectl("delete", "-f", str(CRD))


pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("definition")]


def holder(space: Space) -> str:
    lease = json.loads(space.kubectl("get", "lease", LEASE, "-o", "json"))
    return str(lease["spec"]["holderIdentity"])


def submit(space: Space, **reach: Any) -> None:
    """A job called digits, whose database is there."""
    job = copy.deepcopy(DIGITS)
    job["spec"]["data"]["ignite"] = {"cache": "DIGITS", **reach}
    space.apply(job)


def condition(space: Space, kind: str) -> dict[str, Any]:
    job = json.loads(space.kubectl("get", "tjob", "digits", "-o", "json"))
    found = job.get("status", {}).get("conditions", [])
    return next((one for one in found if one["type"] == kind), {})


def until_it_says(space: Space, words: str) -> None:
    def message() -> str:
        return str(condition(space, "TopologyResolved").get("message", ""))

    until(lambda: words in message(), lambda: f"the job says {message()!r}")


def test_a_job_whose_service_is_missing_says_so(space: Space, tmp_path: Path) -> None:
    with running(space, tmp_path / "log") as operator:
        submit(space, service={"name": "nowhere", "port": 10800})
        until_it_says(space, "Service 'nowhere' is not there")
        assert operator.stop() == Exit.STOPPED
    assert not [line for line in operator.lines() if line["level"] in ("warning", "error")]


def test_a_stopped_leader_gives_its_lease_back(space: Space, tmp_path: Path) -> None:
    with running(space, tmp_path / "log") as operator:
        operator.until_it_leads()
        assert holder(space)
        assert operator.stop() == Exit.STOPPED
    assert holder(space) == ""


def test_a_follower_stops_as_well(space: Space, tmp_path: Path) -> None:
    with running(space, tmp_path / "one") as leader:
        leader.until_it_leads()
        with running(space, tmp_path / "two") as follower:
            follower.until("waiting:")
            assert follower.stop() == Exit.STOPPED
        assert holder(space)


def test_of_two_replicas_one_acts_and_the_other_replaces_it(space: Space, tmp_path: Path) -> None:
    with running(space, tmp_path / "one") as one, running(space, tmp_path / "two") as two:
        until(lambda: one.says("leads now") or two.says("leads now"), lambda: "nobody leads")
        leader, follower = (one, two) if one.says("leads now") else (two, one)
        follower.until("waiting:")
        assert not follower.says("leads now")
        leader.kill()
        submit(space, service={"name": "nowhere", "port": 10800})
        follower.until_it_leads()
        until_it_says(space, "Service 'nowhere' is not there")


def test_without_the_api_server_the_leader_ends(space: Space, tmp_path: Path) -> None:
    server = space.cluster.api_server
    try:
        with running(space, tmp_path / "log") as operator:
            operator.until_it_leads()
            server.kill()
            assert operator.ended() == Exit.LEASE_LOST
    finally:
        server.start()
        space.cluster.wait_ready()


def test_an_operator_that_is_deaf_starts_again(space: Space, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    with (
        proxy(space.cluster.kubeconfig, file) as served,
        running(space, tmp_path / "log", {"KUBECONFIG": str(file)}) as operator,
    ):
        operator.until_it_leads()
        served.until_watched("pods")
        served.error("pods", 500)
        assert operator.ended() == Exit.WATCHES_ENDED
    assert holder(space) == ""


def test_a_leader_that_was_frozen_does_not_act_afterwards(space: Space, tmp_path: Path) -> None:
    with running(space, tmp_path / "one") as frozen:
        frozen.until_it_leads()
        os.kill(frozen.process.pid, signal.SIGSTOP)
        with running(space, tmp_path / "two") as other:
            other.until_it_leads()
            os.kill(frozen.process.pid, signal.SIGCONT)
            assert frozen.ended() == Exit.LEASE_LOST
            submit(space, service={"name": "nowhere", "port": 10800})
            until_it_says(space, "Service 'nowhere' is not there")
            assert other.says("leads now")


def test_the_pod_that_leads_is_labelled_and_a_new_process_clears_the_label(
    space: Space, tmp_path: Path
) -> None:
    def label() -> str | None:
        pod = json.loads(space.kubectl("get", "pod", "operator-0", "-o", "json"))
        found: str | None = pod["metadata"].get("labels", {}).get("insitu.dev/leader")
        return found

    spec = {"schedulingGates": [{"name": "test/gate"}], **space.pod_spec("pass")}
    space.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator-0"}, "spec": spec}
    )
    pod = {"POD_NAME": "operator-0", "POD_NAMESPACE": space.name}
    with running(space, tmp_path / "one", pod) as killed:
        until(lambda: label() == "true", lambda: "the leader has no label")
        killed.kill()
    with running(space, tmp_path / "other") as other:
        other.until_it_leads()
        with running(space, tmp_path / "two", pod) as follower:
            until(lambda: label() is None, lambda: "the label is still there")
            assert not follower.says("leads now")


def test_an_operator_without_rights_names_them_and_waits(space: Space, tmp_path: Path) -> None:
    limited = account(space, tmp_path, rule("get create update", "leases", "coordination.k8s.io"))
    with running(space, tmp_path / "log", {"KUBECONFIG": str(limited)}) as operator:
        operator.until("grant its service account the verb list on nodes")
        assert operator.process.poll() is None


def test_a_bad_setup_is_refused_with_the_name_of_the_variable(space: Space, tmp_path: Path) -> None:
    with running(space, tmp_path / "log", {"INSITU_WORKERS": "none"}) as operator:
        assert operator.ended() == 64
    assert "INSITU_WORKERS" in operator.log.read_text()


def test_probes_and_metrics_answer(space: Space, tmp_path: Path) -> None:
    with running(space, tmp_path / "log") as operator:
        operator.until_it_leads()
        port = next(
            line["message"].split()[5].rstrip(",")
            for line in operator.lines()
            if line["message"].startswith("probes")
        )
        base = f"http://127.0.0.1:{port}"
        for path in ("/healthz", "/readyz"):
            with urllib.request.urlopen(base + path, timeout=5) as answer:
                assert answer.read() == b"ok\n"
        with urllib.request.urlopen(f"{base}/metrics", timeout=5) as answer:
            assert b"insitu_leader 1.0" in answer.read()


def test_an_operator_runs_inside_of_another_program(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_database(source: DataSource) -> Database:
        raise DatabaseUnavailable("this database is closed today")

    async def main() -> Exit | None:
        async with inside(space, no_database, retry_seconds=0.2) as operator:
            submit(space, endpoints=["127.0.0.1:1"])
            await asyncio.to_thread(until_it_says, space, "this database is closed today")
        return operator.ended

    monkeypatch.setenv("KUBECONFIG", str(space.cluster.kubeconfig))
    assert asyncio.run(main()) is Exit.STOPPED
