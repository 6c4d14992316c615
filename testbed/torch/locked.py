"""Which packages of the lock file the lean PyTorch consists of."""

from __future__ import annotations

import subprocess

from testbed.paths import REPOSITORY, tool

# Linked to by torch's CPU library and small (15 MB together), so the real ones are used.
_REAL = {"nvidia-cuda-runtime", "nvidia-cuda-cupti"}
_GPU_ONLY = ("nvidia-", "cuda-", "triton")
_TORCH = ("--package", "insitu", "--extra", "torch")
_REMEDY = "Run `make setup`, which installs it."


def export(*options: str) -> str:
    """What `uv export` prints with `options`: requirements of others, at the locked versions."""
    command = [tool("uv", _REMEDY), "export", "--frozen", "--quiet", "--no-dev"]
    command += ["--no-emit-workspace", "--no-annotate", "--no-header"]
    return subprocess.run(
        [*command, *options], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def leave_out() -> list[str]:
    """Options of `uv export` that leave out the libraries that only a GPU needs."""
    names = {line.split("==")[0] for line in export(*_TORCH, "--no-hashes").splitlines()}
    return [option for name in sorted(filter(_gpu_only, names))
            for option in ("--no-emit-package", name)]  # fmt: skip


def lean() -> str:
    """The requirements of `insitu[torch]`, with hashes, without GPU libraries."""
    return export(*_TORCH, *leave_out())


def _gpu_only(package: str) -> bool:
    return package.startswith(_GPU_ONLY) and package not in _REAL
