"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# No timed assertions: a busy machine is no reason to fail.
settings.register_profile("insitu", deadline=None)
settings.load_profile("insitu")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--layouts",
        type=int,
        default=1,
        help="clusters of other names and places on which test_placement.py has five jobs each",
    )
    parser.addoption(
        "--replay", type=Path, help="the file of a plan, which tests/simulator runs as well"
    )
    parser.addoption(
        "--plans",
        choices=["sample", "all"],
        default="sample",
        help="how many of the fault plans of tests/simulator are run",
    )
    parser.addoption(
        "--seeds", type=int, default=60, help="random histories that tests/simulator runs"
    )
    parser.addoption(
        "--states", type=int, default=500, help="random states that tests/simulator decides on"
    )
    parser.addoption(
        "--crowds", type=int, default=3, help="crowds of each size that tests/simulator runs"
    )
