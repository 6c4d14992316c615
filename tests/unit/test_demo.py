"""What `make demo` can show, and that it says so."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from examples.demo.__main__ import main
from examples.demo.shows import SHOWS, Show

NAMES = [f"{show.database.name}-{show.framework}" for show in SHOWS]


@pytest.mark.parametrize("show", SHOWS, ids=NAMES)
def test_a_show_has_all_the_files_of_its_example(show: Show) -> None:
    assert {"data.py", "evaluate.py", "model.py", "train.py"} <= {s.name for s in show.scripts}
    assert show.database.endpoint in (show.folder / "job.yaml").read_text()


def test_each_database_and_framework_has_one_show() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("unknown", [("--database", "ingite"), ("--framework", "jax")])
def test_an_unknown_show_is_refused_with_what_there_is(unknown: tuple[str, str]) -> None:
    result = CliRunner().invoke(main, ["local", *unknown])
    assert result.exit_code == 2
    assert unknown[1] in result.output
    assert "DATABASE=ignite FRAMEWORK=torch" in result.output
