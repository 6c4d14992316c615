"""The images of `images/`, built from their Containerfiles on this machine.

What they are made of comes from here too: a Debian in the place of the base image, and Python
packages from uv's cache, so that a build needs no registry.

>>> with cluster.start(nodes=3, images=[operator(), trainer_torch()]):  # doctest: +SKIP
...     ...
"""

from __future__ import annotations

from dataclasses import replace

from testbed.cluster.images import Image
from testbed.images.build import Recipe, build
from testbed.images.packages import stub_layer
from testbed.torch.locked import export, leave_out

__all__ = ["operator", "trainer_tensorflow", "trainer_torch"]

_LOCK = ("pyproject.toml", "uv.lock", "operator/pyproject.toml", "trainer-runtime/pyproject.toml")
# Jobs on either database run in each of them.
_TRAINER = ("--package", "insitu", "--extra", "cassandra")


def operator() -> Image:
    """Runs the operator; has the `insitu` command, too.

    Raises:
        RuntimeError: it could not be built; the message holds what the builder said.
    """
    context = (*_LOCK, "operator", "trainer-runtime")
    return build(Recipe("operator", context, export("--package", "insitu-operator")))


def trainer_torch() -> Image:
    """Runs training scripts with the lean PyTorch of `testbed.torch`, which knows no GPU.

    Raises:
        RuntimeError: it could not be built; the message holds what the builder said.
    """
    lean = leave_out()
    requirements = export(*_TRAINER, "--extra", "torch", *lean)
    context = (*_LOCK, "trainer-runtime")
    image = build(Recipe("trainer-torch", context, requirements, {"EXPORT": " ".join(lean)}))
    return replace(image, layers=(*image.layers, stub_layer(requirements)))


def trainer_tensorflow() -> Image:
    """Runs training scripts with a TensorFlow that knows no GPU.

    Raises:
        RuntimeError: it could not be built; the message holds what the builder said.
    """
    extra = "tensorflow-cpu"
    requirements = export(*_TRAINER, "--extra", extra)
    context = (*_LOCK, "trainer-runtime")
    return build(Recipe("trainer-tensorflow", context, requirements, {"EXTRA": extra}))
