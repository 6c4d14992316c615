"""A TensorFlow job, one worker per Ignite node: every row once, whoever dies on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.ignite import Cluster
from tests.audit import once_each
from tests.databases.jobs import Job, fill

pytestmark = [pytest.mark.ignite, pytest.mark.timeout(420)]

SCRIPT = Path(__file__).with_name("tensorflow_script.py").read_text()
TENSORFLOW = {"trainer": {"framework": "TensorFlow", "command": ["python", "train.py"]}}


def test_a_killed_worker_costs_no_row_and_doubles_none(ignite: Cluster, tmp_path: Path) -> None:
    fill(ignite, "ONCE_TENSORFLOW", 500)
    job = Job(tmp_path, ignite, "ONCE_TENSORFLOW", dies="1:2:12", spec=TENSORFLOW, script=SCRIPT)
    with job.start() as process:  # Six times TensorFlow is imported here.
        said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    assert job.status["restarts"] == 1, said
    assert job.committed() == once_each(500)
