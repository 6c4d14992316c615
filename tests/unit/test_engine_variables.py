"""Every variable that the reference promises a trainer: set by each engine, and read again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from insitu.api import Framework
from insitu.contract import Reporting, from_environ, read_document
from insitu.contract.tf_config import Workers, read_tf_config
from insitu.databases import DataSource
from insitu_operator.core.objects.bindings import binding, pod_assignments
from insitu_operator.core.objects.jobs import batch_job
from insitu_operator.core.objects.names import ASSIGNMENT, INDEX
from insitu_operator.core.objects.services import trainer_service
from insitu_operator.core.objects.settings import TrainerSettings
from insitu_operator.local.run import Outcome
from tests.unit.job_builders import Scene, job, topology
from tests.unit.local_builders import Followed, manifest, start
from tests.unit.pod_builders import gated

REFERENCE = (Path(__file__).parents[2] / "docs/reference/environment.md").read_text()
FOR_TESTS = {"INSITU_AUDIT_DIR", "INSITU_AUDIT_COLUMN"}
WRITES = """
import json, os, pathlib
pathlib.Path(f"rank-{os.environ['RANK']}.json").write_text(json.dumps(dict(os.environ)))
"""


def promised() -> set[str]:
    trainer = REFERENCE.partition("## Trainer")[2].partition("A script that is run alone")[0]
    return set(re.findall(r"`([A-Z][A-Z_]+)`", trainer)) - FOR_TESTS


def test_on_this_machine_each_rank_finds_all_of_them(tmp_path: Path) -> None:
    trainer = {"framework": "TensorFlow", "command": ["python", "train.py"]}
    _, outcome = start(manifest(tmp_path, WRITES, trainer=trainer), Followed())
    assert isinstance(outcome, Outcome)
    found = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert promised() - {"INSITU_HEARTBEAT_TOKEN"} <= found[0].keys()  # It needs none here.
    workers = [check_read(environ, rank) for rank, environ in enumerate(found)]
    assert workers[0] == workers[1]
    assert {host for host, _ in workers[0]} == {"127.0.0.1"}
    assert len({port for _, port in workers[0]} | {int(found[0]["MASTER_PORT"])}) == 3


@pytest.mark.parametrize("rank", [0, 2])
def test_in_kubernetes_each_rank_finds_all_of_them(tmp_path: Path, rank: int) -> None:
    environ = in_a_pod(tmp_path, rank)
    assert promised() <= environ.keys()
    workers = check_read(environ, rank)
    assert [host for host, _ in workers] == [f"digits-g1-{r}.digits-trainers" for r in range(3)]
    assert workers[0][0] == environ["MASTER_ADDR"]
    assert workers[0][1] != int(environ["MASTER_PORT"])


@pytest.mark.parametrize("framework", Framework)
def test_every_rank_that_is_named_has_a_name(framework: Framework) -> None:
    asked = job(uid="u", trainer={"framework": str(framework), "command": ["t"]})
    service = trainer_service(asked)["spec"]
    named = framework is Framework.TENSORFLOW
    assert (INDEX not in service["selector"]) is named
    assert [port["name"] for port in service["ports"]] == ["rendezvous", *["tensorflow"] * named]


def check_read(environ: Mapping[str, str], rank: int) -> Workers:
    """What a trainer reads of its variables fits together; gives TensorFlow's workers."""
    assignment = from_environ(environ)
    assert (assignment.rank, environ["LOCAL_RANK"]) == (rank, "0")
    assert environ["IGNITE_DATASET_HOST"] == assignment.node.host
    assert assignment.master == (environ["MASTER_ADDR"], int(environ["MASTER_PORT"]))
    reporting = Reporting.from_environ(environ)
    assert reporting.heartbeat
    assert (reporting.job, reporting.generation, reporting.rank) == (
        assignment.job,
        assignment.generation,
        rank,
    )
    assert reporting.progress
    tensorflow = read_tf_config(environ)
    assert tensorflow
    assert (tensorflow[1], len(tensorflow[0])) == (rank, assignment.world_size)
    return tensorflow[0]


def in_a_pod(folder: Path, rank: int) -> dict[str, str]:
    """The variables of a script in the pod of `rank`, as Kubernetes and `insitu-run` make them."""
    source = DataSource("ignite", (("10.0.0.7", 10800),), "DIGITS")
    record = Scene().read().tick().record
    assert record
    asked = job(uid="u", trainer={"framework": "TensorFlow", "command": ["t"]})
    images = {Framework.TENSORFLOW: "t:1"}
    settings = TrainerSettings(images=images, heartbeat_url="http://127.0.0.1:9")
    written = batch_job(asked, record, source, settings)
    (container,) = written["spec"]["template"]["spec"]["containers"]
    told = pod_assignments(asked, record, topology(), source)[rank]
    annotations = {
        INDEX: str(rank),
        **binding(gated(rank), told, "node")["metadata"]["annotations"],
    }
    environ: dict[str, str] = {}
    for variable in container["env"]:
        environ[variable["name"]] = _value(variable, annotations, environ)
    document = folder / "assignment.json"
    document.write_text(annotations[ASSIGNMENT])
    assert read_document(document) == told
    environ["INSITU_ASSIGNMENT"] = str(document)
    subprocess.run(
        [sys.executable, "-m", "insitu.supervisor", "--", sys.executable, "-c", WRITES],
        env=environ | {"HOME": str(folder)},
        cwd=folder,
        check=True,
        timeout=60,
        capture_output=True,
    )
    found: dict[str, str] = json.loads((folder / f"rank-{rank}.json").read_text())
    return found


def _value(
    variable: Mapping[str, Any], annotations: Mapping[str, str], before: Mapping[str, str]
) -> str:
    """As the kubelet: a field of the pod, or text with `$(NAME)` of variables before it."""
    if reference := variable.get("valueFrom"):
        path = reference["fieldRef"]["fieldPath"]
        return annotations[path.removeprefix("metadata.annotations['").removesuffix("']")]
    text: str = variable["value"]
    return re.sub(
        r"\$\$|\$\((\w+)\)",
        lambda found: "$" if found[0] == "$$" else before.get(found[1], found[0]),
        text,
    )
