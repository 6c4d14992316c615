"""A job reaches a database that asks for more than an address, and a script runs without a job."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.ignite import Cluster
from tests.audit import once_each
from tests.databases.jobs import SCRIPT, Job, fill

pytestmark = [pytest.mark.ignite, pytest.mark.timeout(180)]

ONE_EPOCH = {"training": {"epochs": 1, "globalBatchSize": 64}}


def endpoint(cluster: Cluster) -> str:
    return f"{cluster.nodes[0].host}:{cluster.nodes[0].port}"


def secret(folder: Path, name: str, **files: str | Path) -> None:
    (folder / "secrets" / name).mkdir(parents=True)
    for key, content in files.items():
        path = folder / "secrets" / name / key.replace("_", ".")
        if isinstance(content, Path):
            shutil.copy(content, path)
        else:
            path.write_text(content)


def source(cluster: Cluster, table: str, **access: object) -> dict[str, object]:
    ignite = {"endpoints": [endpoint(cluster)], "cache": table, "columns": ["id", "x"]}
    return {"data": {"ignite": ignite | access}}


def test_a_job_logs_in_with_the_secret_beside_its_manifest(
    ignite_auth: Cluster, tmp_path: Path
) -> None:
    fill(ignite_auth, "LOGGED_IN", 200, backups=0)
    assert ignite_auth.credentials
    secret(tmp_path, "database", username="ignite", password=ignite_auth.credentials.password)
    spec = source(ignite_auth, "LOGGED_IN", credentials={"secretName": "database"}) | ONE_EPOCH
    job = Job(tmp_path, ignite_auth, "LOGGED_IN", spec=spec)
    code, said = job.run()
    assert code == 0, said
    assert job.committed() == once_each(200, epochs=1)
    for document in (tmp_path / ".insitu").rglob("rank-*.json"):
        assert "password" not in document.read_text().lower()


def test_a_wrong_password_is_said_and_not_shown(ignite_auth: Cluster, tmp_path: Path) -> None:
    secret(tmp_path, "database", username="ignite", password="no-such-word")
    spec = source(ignite_auth, "ANY", credentials={"secretName": "database"})
    code, said = Job(tmp_path, ignite_auth, "ANY", spec=spec).run()
    assert code == 2
    assert "password" in said
    assert "no-such-word" not in said


def test_a_job_trusts_and_shows_the_certificates_of_its_secret(
    ignite_tls: Cluster, tmp_path: Path
) -> None:
    fill(ignite_tls, "ENCRYPTED", 200, backups=0)
    tls = ignite_tls.tls
    assert tls
    assert tls.ca
    assert tls.certificate
    assert tls.key
    secret(tmp_path, "tls", ca_crt=tls.ca, tls_crt=tls.certificate, tls_key=tls.key)
    spec = source(ignite_tls, "ENCRYPTED", tls={"secretName": "tls"}) | ONE_EPOCH
    job = Job(tmp_path, ignite_tls, "ENCRYPTED", spec=spec)
    code, said = job.run()
    assert code == 0, said
    assert job.committed() == once_each(200, epochs=1)


def test_a_script_runs_alone_with_the_variables_of_ignite_dataset(
    ignite: Cluster, tmp_path: Path
) -> None:
    fill(ignite, "ALONE", 200)
    (tmp_path / "train.py").write_text(
        SCRIPT.replace("session.batches()", "session.batches(epochs=1, batch_size=64)")
    )
    variables = {
        "IGNITE_DATASET_CACHE_NAME": "ALONE",
        "IGNITE_DATASET_HOST": ignite.nodes[0].host,
        "IGNITE_DATASET_PORT": str(ignite.nodes[0].port),
        "INSITU_AUDIT_DIR": str(tmp_path / "audit"),
        "INSITU_AUDIT_COLUMN": "id",
        "INSITU_GENERATION": "0",
        "TEST_FOLDER": str(tmp_path),
        "TEST_DIES": "",
        "TEST_WAITS": "",
    }
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = Job(tmp_path, ignite, "ALONE").audited()
    assert sorted(key for line in lines for key in line["keys"]) == list(range(200))
