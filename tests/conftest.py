"""What all tests share."""

from __future__ import annotations

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
