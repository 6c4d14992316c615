"""A TensorFlow job, one worker per database node: every row once, whoever dies on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed import cassandra as cassandra_testbed
from testbed import ignite as ignite_testbed
from tests.audit import once_each
from tests.databases.jobs import Cluster, Job, fill, fill_cassandra

pytestmark = pytest.mark.timeout(560)  # Six times TensorFlow is imported here.

SCRIPT = Path(__file__).with_name("tensorflow_script.py").read_text()
PLAIN_SCRIPT = Path(__file__).with_name("plain_tensorflow_script.py").read_text()
TENSORFLOW = {"trainer": {"framework": "TensorFlow", "command": ["python", "train.py"]}}
ROWS = 500


@pytest.mark.ignite
def test_a_killed_worker_beside_ignite_costs_no_row_and_doubles_none(
    ignite: ignite_testbed.Cluster, tmp_path: Path
) -> None:
    fill(ignite, "ONCE_TENSORFLOW", ROWS)
    check_once_each(ignite, "ONCE_TENSORFLOW", tmp_path)


@pytest.mark.cassandra
def test_a_killed_worker_beside_cassandra_costs_no_row_and_doubles_none(
    cassandra: cassandra_testbed.Cluster, tmp_path: Path
) -> None:
    fill_cassandra(cassandra, "once.tensorflow", ROWS)
    check_once_each(cassandra, "once.tensorflow", tmp_path)


@pytest.mark.ignite
def test_a_script_with_a_strategy_of_its_own_trains_one_model_on_all_ranks(
    ignite: ignite_testbed.Cluster, tmp_path: Path
) -> None:
    fill(ignite, "PLAIN_TENSORFLOW", 30)
    job = Job(tmp_path, ignite, "PLAIN_TENSORFLOW", spec=TENSORFLOW, script=PLAIN_SCRIPT)
    with job.start() as process:
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    found = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(3)]
    assert found == [[3, 3 * (1.0 + 2.0 + 3.0)]] * 3


def check_once_each(cluster: Cluster, table: str, folder: Path) -> None:
    """Three epochs, in the second of which a worker dies."""
    job = Job(folder, cluster, table, dies="1:2:12", spec=TENSORFLOW, script=SCRIPT)
    with job.start() as process:
        said, _ = process.communicate(timeout=540)
    assert process.returncode == 0, said
    assert job.status["restarts"] == 1, said
    assert job.committed() == once_each(ROWS)
