"""What the documents tell a reader to type, typed on real servers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from insitu.databases import connect
from testbed.cassandra import Cluster as CassandraCluster
from testbed.ignite import Cluster
from tests.documents import ROOT, block, commands

pytestmark = pytest.mark.timeout(300)

README = (ROOT / "README.md").read_text()
#: Not for a test: they set up what it has already.
ELSEWHERE = ("make setup", "python -m testbed")


@pytest.mark.ignite
def test_the_demo_by_hand(ignite: Cluster, tmp_path: Path) -> None:
    address = endpoint(ignite)
    copy_example("digits", address, "127.0.0.1:10800", tmp_path / "examples/digits")
    for command in commands('README.md: make setup && export PATH="$PWD/.venv/bin:$PATH"'):
        if not command.startswith(ELSEWHERE):
            shell(command.replace("ADDRESS:10800", address), tmp_path)
    # "The same script also runs alone": and the code that the README shows.
    work = tmp_path / "examples/digits"
    (alone,) = re.findall(r"also runs alone: `(.*?)`", README)
    assert "epochs=1, batch_size=32 rows" in shell(told(alone, ignite, "DIGITS"), work)
    opens = "with insitu.torch.session(model=model, optimizer=optimizer) as session:"
    loop = block("docs/training.md: for number, batch in enumerate(session.batches(), 1):").text
    shown = (
        block(f"README.md: {opens}").text,
        block(f"docs/training.md: {opens}").text,
        f"{opens}\n{textwrap.indent(loop, '    ')}",
    )
    code = "".join(f"{_TORCH}{text}\nprint(session.steps, 'steps')\n" for text in shown)
    (work / "train.py").write_text(code)
    said = shell(told(alone, ignite, "DIGITS"), work)
    assert re.findall(r"\d+ steps", said) == ["45 steps", "45 steps", "12 steps"]  # 1,437 rows


@pytest.mark.cassandra
@pytest.mark.parametrize("example", ["vectors-cassandra", "text-cassandra"])
def test_the_commands_of_an_example(
    cassandra: CassandraCluster, tmp_path: Path, example: str
) -> None:
    address = endpoint(cassandra)
    copy_example(example, address, "127.0.0.1:9042", tmp_path)
    said = {}
    for command in commands(f"examples/{example}/README.md: python data.py ."):
        typed = command.replace("HOST:9042", address)
        if command.startswith("insitu tensorboard"):  # It would go on for ever.
            typed += " --sync-only --logdir events"
        said[command] = shell(typed, tmp_path)
    (evaluated,) = (text for command, text in said.items() if "evaluate.py" in command)
    assert re.search(r"step \d+: test accuracy 0\.\d+", evaluated)
    drawn = any(command.startswith("insitu tensorboard") for command in said)
    assert bool(list((tmp_path / "events").rglob("*tfevents*"))) is drawn


@pytest.mark.ignite
def test_the_code_of_the_page_on_tensorflow(ignite: Cluster, tmp_path: Path) -> None:
    rows = 64
    batch = pa.record_batch(
        {
            "id": pa.array(range(rows), pa.int64()),
            "pixels": pa.array(np.ones((rows, 4), np.float32).tolist(), pa.list_(pa.float32())),
            "label": pa.array([number % 3 for number in range(rows)], pa.int64()),
            "text": pa.array(["a word"] * rows),
        }
    )
    with (
        closing(connect(ignite.source("PAGES"))) as database,
        closing(database.writer(batch.schema, key=["id"])) as writer,
    ):
        writer.write(batch)
    begins = ("with insitu.tensorflow.session() as session:", _DATASET)
    code = _TENSORFLOW + "".join(block(f"docs/tensorflow.md: {line}").text for line in begins)
    (tmp_path / "train.py").write_text(code + _COUNT_ROWS)
    said = shell(told("python train.py", ignite, "PAGES"), tmp_path)
    assert "2 steps, 64 rows" in said


_TORCH = """
import torch
from model import classifier
from torch.nn.functional import cross_entropy

import insitu.torch

model = classifier()
optimizer = torch.optim.Adam(model.parameters())
"""
_TENSORFLOW = """
import keras
import tensorflow as tf

import insitu.tensorflow

cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
tokens = tf.strings.length


def make_model():
    return keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])


"""
_DATASET = "rows = insitu.tensorflow.dataset(batch_size=512)"
_COUNT_ROWS = """
print(f"{session.steps} steps, {sum(len(label) for _, label in rows)} rows")
"""


def endpoint(cluster: Cluster | CassandraCluster) -> str:
    host, port = cluster.endpoints[0]
    return f"{host}:{port}"


def told(command: str, cluster: Cluster, table: str) -> str:
    """A command for a script that is run alone, with what its variables stand for."""
    host, port = cluster.endpoints[0]
    values = {"HOST": host, "PORT": str(port), "CACHE_NAME": table}
    command = re.sub(r"IGNITE_DATASET_\w+=\S+ ", "", command)
    return "".join(f"IGNITE_DATASET_{name}={value} " for name, value in values.items()) + command


def copy_example(name: str, address: str, placeholder: str, folder: Path) -> None:
    """An example's files, with the address in its job, which trains for one epoch only."""
    shutil.copytree(ROOT / "examples" / name, folder, dirs_exist_ok=True)
    job = yaml.safe_load((folder / "job.yaml").read_text().replace(placeholder, address))
    job["spec"]["training"]["epochs"] = 1
    (folder / "job.yaml").write_text(yaml.safe_dump(job))


def shell(command: str, folder: Path) -> str:
    """Everything that a command prints, as a reader would type it in `folder`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ: Mapping[str, str] = os.environ | {"PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    return done.stdout
