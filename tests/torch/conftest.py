"""Tests on real PyTorch; they need the extra `insitu[torch]`, as `make test` installs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.torch.processes import Processes, processes


@pytest.fixture(scope="session")
def ranks() -> Iterator[Processes]:
    with processes() as running:
        yield running
