"""Python packages for images: from uv's cache, which is filled here when it lacks some."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from testbed.cluster.images import layer
from testbed.cluster.once import once
from testbed.paths import cache, tool
from testbed.torch.stubs import write_stubs

# Those of the Debian that the images are built on.
PYTHON = "3.11"
_PLATFORM = "x86_64-manylinux_2_36"
# Where the Containerfiles put packages.
_SITE_PACKAGES = f"/opt/insitu/lib/python{PYTHON}/site-packages"
_STUBS = "nvidia/cu13/lib"
_REMEDY = "Run `make setup`, which installs it."


def key(requirements: str) -> str:
    """A name for these requirements, short enough for a file."""
    return hashlib.sha256(requirements.encode()).hexdigest()[:12]


def fill_cache(requirements: str) -> None:
    """Returns when uv's cache has all of `requirements`, which are pinned and hashed.

    Raises:
        RuntimeError: uv failed; the message holds what it said.
    """

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            _install(requirements, Path(folder))
        target.write_text(requirements)

    once(_folder() / f"{key(requirements)}.txt", make)


def stub_layer(requirements: str) -> Path:
    """A layer with stubs for the libraries that the PyTorch of `requirements` is linked to.

    Raises:
        RuntimeError: uv failed; the message holds what it said.
    """

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            packages = Path(folder)
            _install(requirements, packages)
            into = packages / _STUBS
            names = write_stubs(packages / "torch", into)
            layer(target, {f"{_SITE_PACKAGES}/{_STUBS}/{name}": into / name for name in names})

    return once(_folder() / f"stubs-{key(requirements)}.tar", make)


def uv() -> Path:
    """The program itself, where the command may be a script that looks for it."""
    command = [tool("uv", _REMEDY), "run", "--no-project", "--offline", "printenv", "UV"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/")
    return Path(done.stdout.strip())


def uv_cache() -> Path:
    """The folder of uv's cache."""
    command = [tool("uv", _REMEDY), "cache", "dir"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/")
    return Path(done.stdout.strip())


def _install(requirements: str, target: Path) -> None:
    done = subprocess.run(
        [tool("uv", _REMEDY), "pip", "install", "--no-deps", "--require-hashes",
         f"--python-version={PYTHON}", f"--python-platform={_PLATFORM}", f"--target={target}",
         "--requirement", "-"],
        check=False, input=requirements, capture_output=True, text=True, cwd="/",
        env={"UV_HTTP_TIMEOUT": "600"} | os.environ,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"uv could not fetch packages for an image:\n{done.stderr[-2000:]}")


def _folder() -> Path:
    return cache() / "images" / "packages"
