"""The benchmarks run and say what they measured; their numbers are nobody's claim here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ignite

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
    assert {result["against"] for result in results} == {"bare socket", "pyignite scan"}
    for result in results:
        assert set(result) == FIELDS
        assert result["ratio"] > 0
        assert {"rows", "page_bytes", "cores", "ignite", "rounds"} <= set(result["conditions"])
