"""What the README shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from insitu.api import load_manifest
from insitu_operator.cli import main
from tests.documents import DOCUMENTS, EXAMPLES, NOT_RUN, ROOT, RUN, block, blocks

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


def test_the_job_of_the_page_on_kubernetes_is_accepted() -> None:
    head = "apiVersion: insitu.dev/v1alpha1\nkind: TrainingJob\nmetadata: {name: digits}\n"
    assert load_manifest(head + block("docs/kubernetes.md: spec:").text).metadata.name == "digits"


def test_every_block_of_the_documents_is_run_by_a_test_or_says_why_not() -> None:
    found = [b.key for path in (*DOCUMENTS, *EXAMPLES) for b in blocks(path)]
    assert len(set(found)) == len(found)
    known = RUN.keys() | NOT_RUN.keys()
    assert set(found) == known, "name the block in tests/documents.py: RUN, or NOT_RUN with why"
    assert not RUN.keys() & NOT_RUN.keys()


@pytest.mark.parametrize("named", sorted(set(RUN.values())))
def test_a_test_that_is_said_to_run_a_block_exists(named: str) -> None:
    path, _, test = named.partition("::")
    assert f"def {test}(" in (ROOT / path).read_text()


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"^\| `insitu (\w+)", README, re.MULTILINE))
    assert {"load", "plan", "run", "checkpoints", "tensorboard"} == named
    for command in named:
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
