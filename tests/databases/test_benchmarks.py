"""The benchmarks run and say what they measured; their numbers are nobody's claim here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ignite, pytest.mark.cassandra, pytest.mark.timeout(480)]

FIELDS = {"name", "value", "unit", "against", "ratio", "conditions"}


def test_every_line_is_a_result_with_its_baseline_and_its_conditions() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    against = {(result["name"].partition(".")[0], result["against"]) for result in results}
    assert against == {
        ("ignite", "bare socket"),
        ("ignite", "pyignite scan"),
        ("cassandra", "bare bodies"),
        ("cassandra", "cassandra-driver"),
        ("cassandra", "acsylla"),
        ("cassandra", "one sample a row"),
        ("tensorflow", "from_tensor_slices(...).batch(512)"),
        ("tensorflow", "from_generator, one row a call"),
        ("tensorflow", "the reader alone"),
        ("commit_log", "the same with 100 commits"),
    }
    for result in results:
        assert set(result) == FIELDS
        assert result["ratio"] > 0
        subject = result["name"].partition(".")[0]
        own = {
            "tensorflow": {"rows", "batch", "tensorflow_cpu"},
            "commit_log": {"commits", "requests"},
        }.get(subject, {"rows", "page_bytes", subject})
        assert {"cores", "rounds", *own} <= set(result["conditions"])
