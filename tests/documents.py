"""The blocks of the documents, and what becomes of each of them in the tests."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
EXAMPLES = tuple(sorted(ROOT.glob("examples/**/README.md")))


class Block(NamedTuple):
    """One piece of a document that a reader would copy.

    `key` is its file and its first line without the comment behind it.
    """

    path: Path
    language: str
    text: str

    @property
    def key(self) -> str:
        first = re.sub(r"(?<=\S) +# .*", "", self.text.splitlines()[0]).strip()
        return f"{self.path.relative_to(ROOT)}: {first}"


def blocks(path: Path) -> Iterator[Block]:
    """Fenced blocks of sh, python, and yaml; in examples indented ones too: their commands."""
    text = path.read_text()
    for found in re.finditer(r"^```(sh|python|yaml)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield Block(path, found[1], found[2])
    if path not in EXAMPLES:
        return
    without = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for found in re.finditer(r"(?:^ {4}.*\n|^\n(?= {4}))+", without, re.MULTILINE):
        if found[0].strip():
            yield Block(path, "sh", textwrap.dedent(found[0]).strip() + "\n")


def block(key: str) -> Block:
    """The one block of that key."""
    (found,) = (b for path in (*DOCUMENTS, *EXAMPLES) for b in blocks(path) if b.key == key)
    return found


def commands(key: str) -> list[str]:
    """The lines of a block of commands, without what is a comment."""
    lines = (line.partition(" #")[0].strip() for line in block(key).text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


_HAND = "tests/databases/test_documents.py::test_the_demo_by_hand"
_TENSORFLOW = "tests/databases/test_documents.py::test_the_code_of_the_page_on_tensorflow"
_EXAMPLE = "tests/databases/test_documents.py::test_the_commands_of_an_example"

#: Which test runs a block.
RUN: Mapping[str, str] = {
    'README.md: make setup && export PATH="$PWD/.venv/bin:$PATH"': _HAND,
    "README.md: apiVersion: insitu.dev/v1alpha1": (
        "tests/unit/test_readme.py::test_the_manifest_of_the_readme_is_accepted"
    ),
    "README.md: with insitu.torch.session(model=model, optimizer=optimizer) as session:": _HAND,
    "docs/kubernetes.md: spec:": (
        "tests/unit/test_readme.py::test_the_job_of_the_page_on_kubernetes_is_accepted"
    ),
    "docs/tensorflow.md: with insitu.tensorflow.session() as session:": _TENSORFLOW,
    "docs/tensorflow.md: rows = insitu.tensorflow.dataset(batch_size=512)": _TENSORFLOW,
    "docs/training.md: with insitu.torch.session(model=model, optimizer=optimizer) as session:": (
        _HAND
    ),
    "docs/training.md: for number, batch in enumerate(session.batches(), 1):": _HAND,
    "examples/vectors-cassandra/README.md: python data.py .": _EXAMPLE,
    "examples/text-cassandra/README.md: python data.py .": _EXAMPLE,
}

_CLUSTER = "needs Kubernetes: `make demo-cluster` applies the files, tests/cluster the chart"

#: Why no test runs a block.
NOT_RUN: Mapping[str, str] = {
    "README.md: make demo": "it is a run of its own; `make test` is the command that runs this",
    "README.md: make demo-cluster": _CLUSTER,
    "README.md: helm install insitu charts/insitu --namespace ml"
    " --set images.registry=registry.example.org/insitu": _CLUSTER,
    "docs/kubernetes.md: helm install insitu charts/insitu --namespace ml"
    " --set images.registry=registry.example.org/insitu": _CLUSTER,
    "examples/digits/kubernetes/README.md:"
    " # The rows, a file of 400 kB: as a ConfigMap, and from there into Ignite": _CLUSTER,
    "examples/digits-tensorflow/kubernetes/README.md:"
    " # The rows, a file of 400 kB: as a ConfigMap, and from there into Ignite": _CLUSTER,
    "examples/text-cassandra/kubernetes/README.md:"
    " # The rows, a file of 330 kB: as a ConfigMap, and from there into Cassandra": _CLUSTER,
    "examples/vectors-cassandra/kubernetes/README.md:"
    " # The rows, a file of 750 kB: as a ConfigMap, and from there into Cassandra": _CLUSTER,
    "examples/digits-tensorflow/README.md: python data.py .": (
        "the commands of text-cassandra; `make demo FRAMEWORK=tensorflow` runs its files"
    ),
    "examples/text-cassandra/README.md: rows = insitu.tensorflow.dataset(batch_size=96)": (
        "the same call as in docs/tensorflow.md, which is run"
    ),
    "examples/vectors-cassandra/README.md: dynamic_snitch: false": (
        "settings of a server; the testbed's nodes have them"
    ),
}
