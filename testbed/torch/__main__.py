"""`python -m testbed.torch`: installs the lean PyTorch into the environment that runs it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from testbed.paths import REPOSITORY, tool
from testbed.torch.stubs import write_stubs

# Linked to by torch's CPU library and small (15 MB together), so the real ones are used.
_REAL = {"nvidia-cuda-runtime", "nvidia-cuda-cupti"}
_GPU_ONLY = ("nvidia-", "cuda-", "triton")
_REMEDY = "Run `make setup`, which installs it."


def _export(*options: str) -> str:
    """The locked requirements of `insitu[torch]`."""
    command = [tool("uv", _REMEDY), "export", "--frozen", "--quiet", "--package", "insitu"]
    command += ["--extra", "torch", "--no-emit-workspace", "--no-annotate", "--no-header"]
    return subprocess.run(
        [*command, *options], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _is_left_out(package: str) -> bool:
    return package.startswith(_GPU_ONLY) and package not in _REAL


def _install() -> None:
    names = {line.split("==")[0] for line in _export("--no-hashes").splitlines()}
    skipped = sorted(filter(_is_left_out, names))
    options = [option for name in skipped for option in ("--no-emit-package", name)]
    command = [tool("uv", _REMEDY), "pip", "install", "--python", sys.executable, "--no-deps"]
    subprocess.run(
        [*command, "--require-hashes", "--requirement", "-"],
        input=_export(*options),
        check=True,
        text=True,
        env={"UV_HTTP_TIMEOUT": "600"} | os.environ,
    )


def main() -> None:
    _install()
    importlib.invalidate_caches()
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("torch was installed but can't be found")
    torch = Path(found.origin).parent
    written = write_stubs(torch, into=torch.parent / "nvidia" / "cu13" / "lib")
    if written:
        print(
            f"torch: {len(written)} stub libraries in the place of CUDA ones (CPU only)", flush=True
        )
    subprocess.run([sys.executable, "-c", "import torch"], check=True)


main()
