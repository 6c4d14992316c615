"""What a user does wrong, or the world does to a job, is said clearly, and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.ignite import Cluster
from tests.audit import once_each
from tests.databases.jobs import Job, fill

pytestmark = [pytest.mark.ignite, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def table(ignite: Cluster) -> str:
    fill(ignite, "FAILURES", 300)
    return "FAILURES"


def data_of(job: Job, **changes: object) -> dict[str, object]:
    endpoints = [f"{host}:{port}" for host, port in job.cluster.endpoints]
    return {"data": {"ignite": {"endpoints": endpoints, "cache": job.table, **changes}}}


def test_an_unknown_table_is_refused_with_the_nearest_name(
    ignite: Cluster, table: str, tmp_path: Path
) -> None:
    code, said = Job(tmp_path, ignite, "FALIURES").run()
    assert code != 0
    assert "FALIURES" in said
    assert f"did you mean '{table}'?" in said
    assert "Traceback" not in said


def test_an_unknown_column_is_refused_with_the_nearest_name(
    ignite: Cluster, table: str, tmp_path: Path
) -> None:
    job = Job(tmp_path, ignite, table)
    code, said = replace(job, spec=data_of(job, columns=["id", "idd"])).run()
    assert code != 0
    assert "did you mean 'ID'?" in said or "did you mean 'id'?" in said
    assert "Traceback" not in said


def test_a_database_that_is_down_at_the_start_is_named(
    fresh_ignite: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = fresh_ignite(nodes=1)
    cluster.stop()
    code, said = Job(tmp_path, cluster, "ANY", spec={"startDeadlineSeconds": 3}).run()
    assert code == 1
    assert cluster.endpoints[0][0] in said
    assert "StartDeadlineExceeded" in said or "startDeadlineSeconds" in said


def test_a_script_that_crashes_is_shown_with_its_exit_code_and_last_lines(
    ignite: Cluster, table: str, tmp_path: Path
) -> None:
    job = Job(
        tmp_path,
        ignite,
        table,
        spec={"failurePolicy": {"backoffLimit": 0}},
        script="print('reading the labels'); raise RuntimeError('label 11 is no digit')",
    )
    code, said = job.run()
    assert code == 1
    assert "exit code 1" in said
    assert "RuntimeError: label 11 is no digit" in said
    assert job.condition("Failed")["reason"] == "BackoffLimitExceeded"


def test_a_script_that_never_takes_a_step_is_ended(
    ignite: Cluster, table: str, tmp_path: Path
) -> None:
    job = Job(
        tmp_path,
        ignite,
        table,
        spec={"failurePolicy": {"firstStepDeadlineSeconds": 2}},
        script="import time; time.sleep(600)",
    )
    code, said = job.run()
    assert code == 1
    assert job.condition("Failed")["reason"] == "FirstStepDeadlineExceeded"
    assert job.condition("Failed")["message"] in said


def test_losing_more_nodes_than_there_are_backups_is_noticed_and_said(
    fresh_ignite: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = fresh_ignite(nodes=3)
    fill(cluster, "NO_BACKUPS", 500, backups=0)
    job = Job(tmp_path, cluster, "NO_BACKUPS", waits="1:0:3")
    code, said = job.run_through(lambda _run: cluster.nodes[2].kill())
    assert code == 1, said
    # Whoever counts first says it: a trainer at the end of its epoch, or the one who plans.
    assert job.condition("Failed")["reason"] in {"DataLost", "DataRefused"}
    assert re.search("(of|had) 500", job.condition("Failed")["message"])


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(
    ignite: Cluster, table: str, tmp_path: Path
) -> None:
    job = Job(tmp_path, ignite, table, dies="1:0:9", spec={"failurePolicy": {"backoffLimit": 0}})
    code, _ = job.run()
    assert code == 1, "the trainer was killed, and no restart is allowed"
    newest = job.lineage[-1]
    store = tmp_path / ".insitu" / "job" / "checkpoints"
    part = store / newest.parts[0].name
    part.write_bytes(part.read_bytes()[:-1])
    code, said = job.run("--resume")
    assert code == 0, said
    assert newest.seq not in [commit.seq for commit in job.lineage]
    assert job.committed() == once_each(300)


def test_existing_commits_are_never_continued_or_deleted_unasked(
    ignite: Cluster, table: str, tmp_path: Path
) -> None:
    job = Job(tmp_path, ignite, table, spec={"training": {"epochs": 1, "globalBatchSize": 300}})
    assert job.run()[0] == 0
    code, said = job.run()
    assert code == 2
    assert "--resume" in said
    assert "--fresh" in said


def test_a_store_that_is_no_directory_is_named(ignite: Cluster, table: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("not a directory")
    code, said = Job(tmp_path, ignite, table).run("--store", str(tmp_path / "taken"))
    assert code != 0
    assert str(tmp_path / "taken") in said
    assert "Traceback" not in said


def test_a_manifest_with_several_mistakes_names_all_of_them(
    ignite: Cluster, table: str, tmp_path: Path
) -> None:
    job = Job(tmp_path, ignite, table, spec={"suspended": True, "trainer": {"framework": "Jax"}})
    code, said = job.run()
    assert code == 2
    assert "spec.suspended" in said
    assert "suspend" in said
    assert "spec.trainer.framework" in said
