"""`python -m testbed.torch`: installs the lean PyTorch into the environment that runs it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from testbed.paths import tool
from testbed.torch.locked import lean
from testbed.torch.stubs import write_stubs

_REMEDY = "Run `make setup`, which installs it."


def _install() -> None:
    command = [tool("uv", _REMEDY), "pip", "install", "--python", sys.executable, "--no-deps"]
    subprocess.run(
        [*command, "--require-hashes", "--requirement", "-"],
        input=lean(),
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
