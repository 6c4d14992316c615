"""A store of checkpoints to read from: by its directory or by its URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from insitu.checkpoint import existing_store
from insitu.errors import ConfigurationError


def test_a_directory_is_the_store_that_its_url_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").mkdir()
    monkeypatch.chdir(tmp_path)
    by_path, by_url = existing_store("kept"), existing_store((tmp_path / "kept").as_uri())
    by_path.put("name", [b"value"])
    assert bytes(by_url.get("name") or b"") == b"value"


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no directory .*/none"):
        existing_store(str(tmp_path / "none"))
    assert not list(tmp_path.iterdir())
