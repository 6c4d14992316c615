"""`insitu tensorboard` where no server is started."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from insitu.checkpoint import open_store
from insitu.scalars import Recorder
from insitu_operator.cli import main


def tensorboard(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["tensorboard", *(str(argument) for argument in arguments)])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Of a job `digits` with one step."""
    recorder = Recorder(open_store(tmp_path.as_uri()), "digits", fence=0, generation=1, after=0)
    recorder.add(1, {"loss": 1.0})
    recorder.close()
    return tmp_path


def test_sync_only_leaves_the_event_files(
    store: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    logdir = tmp_path_factory.mktemp("logs")
    for asked in ([store], ["digits", "--store", store]):
        result = tensorboard(*asked, "--sync-only", "--logdir", logdir)
        assert (result.exit_code, result.stdout) == (0, "digits: generation-1\n")
        assert list(logdir.glob("digits/generation-1/*tfevents*"))


def test_what_is_missing_is_said(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, told in (
        (["digits"], "say where it commits: --store"),
        ([store / "digits"], "is no store with curves"),
        ([store, "--sync-only"], "--logdir DIR: give it"),
    ):
        result = tensorboard(*asked)
        assert result.exit_code == 2
        assert told in result.stderr
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert "pip install 'insitu-operator[tensorboard]'" in tensorboard(store).stderr


def test_a_job_without_curves_yet_is_no_error(store: Path) -> None:
    result = tensorboard("other", "--store", store, "--sync-only", "--logdir", store / "logs")
    assert result.stdout == "other: nothing was recorded yet\n"
