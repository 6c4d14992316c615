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
from testbed.torch.locked import export, lean, leave_out

__all__ = ["operator", "trainer_torch"]

_LOCK = ("pyproject.toml", "uv.lock", "operator/pyproject.toml", "trainer-runtime/pyproject.toml")


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
    requirements = lean()
    arguments = {"EXPORT": " ".join(leave_out())}
    context = (*_LOCK, "trainer-runtime")
    image = build(Recipe("trainer-torch", context, requirements, arguments))
    return replace(image, layers=(*image.layers, stub_layer(requirements)))
