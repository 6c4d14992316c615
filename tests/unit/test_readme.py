"""What the README shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from insitu.api import load_manifest
from insitu_operator.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MANIFESTS = sorted(ROOT.glob("examples/*/job.yaml"))
IN_KUBERNETES = sorted(ROOT.glob("examples/*/kubernetes/job.yaml"))


def test_the_manifest_of_the_readme_is_accepted() -> None:
    (manifest,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert load_manifest(manifest).metadata.name == "digits"


@pytest.mark.parametrize("path", IN_KUBERNETES, ids=lambda path: path.parents[1].name)
def test_the_manifest_of_an_example_in_kubernetes_is_accepted(path: Path) -> None:
    assert load_manifest(path).metadata.name == path.parents[1].name


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_the_manifest_of_an_example_is_accepted(path: Path) -> None:
    assert load_manifest(path).metadata.name == path.parent.name


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"^\| `insitu (\w+)", README, re.MULTILINE))
    assert {"load", "plan", "run", "checkpoints", "tensorboard"} == named
    for command in named:
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
