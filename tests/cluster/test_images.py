"""The images run as a cluster that trusts nobody asks for."""

from __future__ import annotations

from typing import Any

import pytest

from testbed import s3
from testbed.cluster import Image
from tests.cluster.manifests import Space

# The first time, all images are built.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

_TRAIN = """
import os, torch, insitu.torch
print(os.getuid(), torch.ones(3, 4).matmul(torch.ones(4)).sum().item())
"""

_TRAIN_TENSORFLOW = """
import os, insitu.tensorflow
from insitu.tensorflow.require import tensorflow
tf = tensorflow()
print(os.getuid(), tf.reduce_sum(tf.ones((3, 4)) @ tf.ones((4, 1))).numpy())
"""

_ASK = """
import insitu.databases.cassandra, insitu.databases.ignite
print('ready to ask both')
"""

_STORE = """
from insitu.checkpoint import open_store, probe
store = open_store('s3://checkpoints/team')
probe(store, 'job')
store.put('job/name', [b'from a pod'])
"""


def pod(image: Image, *command: str) -> dict[str, Any]:
    """Runs `command` as the image's own user, and can write to nothing but /tmp."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "it"},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "it",
                    "image": image.name,
                    "command": list(command),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def output(space: Space, image: Image, *command: str) -> str:
    """What the command prints; it has to succeed."""
    space.apply(pod(image, *command))
    space.cluster.wait(lambda: _still_running(space))
    said = space.kubectl("logs", "it")
    assert _phase(space) == "Succeeded", said
    return said


def _still_running(space: Space) -> str | None:
    phase = _phase(space)
    return None if phase in {"Succeeded", "Failed"} else f"the pod is {phase}"


def _phase(space: Space) -> str:
    return space.kubectl("get", "pod", "it", "-o", "jsonpath={.status.phase}")


def test_a_trainer_runs_torch_without_any_privilege(strict: Space, trainer_image: Image) -> None:
    command = ("insitu-run", "--", "python", "-c", _TRAIN)
    assert output(strict, trainer_image, *command) == "10001 12.0\n"


def test_a_trainer_runs_tensorflow_without_any_privilege(
    strict: Space, tensorflow_image: Image
) -> None:
    command = ("insitu-run", "--", "python", "-c", _TRAIN_TENSORFLOW)
    assert output(strict, tensorflow_image, *command).endswith("10001 12.0\n")


@pytest.mark.parametrize("image", ["operator_image", "trainer_image", "tensorflow_image"])
def test_each_image_has_what_asks_either_database(
    strict: Space, image: str, request: pytest.FixtureRequest
) -> None:
    found = output(strict, request.getfixturevalue(image), "python", "-c", _ASK)
    assert found == "ready to ask both\n"


def test_a_trainer_has_no_compiler_and_no_installer(strict: Space, trainer_image: Image) -> None:
    found = output(strict, trainer_image, "sh", "-c", "command -v gcc pip uv; id -u")
    assert found == "10001\n"


def test_a_trainer_reaches_a_store_on_this_machine(
    strict: Space, trainer_image: Image, store: s3.Server
) -> None:
    store.create_bucket("checkpoints")
    environment = [f"{name}={value}" for name, value in store.environment.items()]
    output(strict, trainer_image, "env", *environment, "python", "-c", _STORE)
    assert (store.buckets / "checkpoints/team/job/name").read_text() == "from a pod"


def test_the_operators_image_has_the_command_too(strict: Space, operator_image: Image) -> None:
    assert "insitu" in output(strict, operator_image, "insitu", "--version")


def test_the_operators_image_has_the_operator(strict: Space, operator_image: Image) -> None:
    show = "import insitu_operator.shell.main, os; print(os.getuid())"
    assert output(strict, operator_image, "python", "-c", show) == "10001\n"
    assert operator_image.entrypoint == ("python", "-m", "insitu_operator.shell")


def test_only_small_layers_lie_above_the_packages(
    operator_image: Image, trainer_image: Image, tensorflow_image: Image
) -> None:
    for image in (operator_image, trainer_image, tensorflow_image):
        _, _, _, packages, *code = [layer.stat().st_size for layer in image.layers]
        assert sum(code) < 10 << 20 < packages
