"""Whatever happens at one write of the operator, a job ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulator.chance import drawn
from tests.simulator.histories import HISTORIES, sweep
from tests.simulator.judge import complaints, smallest, without_faults
from tests.simulator.plans import Plan

SAMPLE = 9
"""One plan of so many is run, each time the same ones."""


def check(plan: Plan, folder: Path) -> None:
    """Fails with the smallest plan that goes wrong as well, which is written to a file."""
    if not complaints(plan):
        return
    found = smallest(plan, lambda smaller: bool(complaints(smaller)))
    file = folder / "plan.json"
    file.write_text(found.text(), encoding="utf-8")
    wrong = "\n".join(complaints(found))
    pytest.fail(f"{wrong}\nTo replay: python -m tests.simulator {file}\n{found.text()}")


def test_the_plan_of_a_file_goes_well(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    file: Path | None = request.config.getoption("--replay")
    check(Plan.read(file) if file else Plan(), tmp_path)


@pytest.mark.parametrize("name", HISTORIES)
def test_without_a_fault_a_history_goes_well(name: str, tmp_path: Path) -> None:
    check(HISTORIES[name], tmp_path)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", HISTORIES)
def test_a_fault_at_any_write_changes_nothing_about_the_end(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    history, first = HISTORIES[name], sorted(HISTORIES).index(name)
    plans = tuple(sweep(history, len(without_faults(history).writes)))
    whole = request.config.getoption("--plans") == "all"
    for plan in plans if whole else plans[first % SAMPLE :: SAMPLE]:
        check(plan, tmp_path)


@pytest.mark.timeout(1800)
def test_random_histories_of_several_jobs_end(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for seed in range(request.config.getoption("--seeds")):
        check(drawn(seed), tmp_path)


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    for seed in range(20):
        file.write_text(drawn(seed).text(), encoding="utf-8")
        assert Plan.read(file) == drawn(seed)


def test_the_smallest_plan_that_fails_is_found() -> None:
    plan = next(plan for seed in range(100) if len((plan := drawn(seed)).faults) == 5)
    guilty = plan.faults[2]
    small = smallest(plan, lambda smaller: guilty in smaller.faults)
    assert small.faults == (guilty,)
    assert not small.orders
    assert len(small.jobs) == 1
