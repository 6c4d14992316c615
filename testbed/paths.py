"""Where the testbed keeps what it downloads and what it leaves running."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def cache() -> Path:
    """`INSITU_CACHE`, or `insitu` in the user's cache folder; made when it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(os.environ.get("INSITU_CACHE") or Path(base) / "insitu")
    path.mkdir(parents=True, exist_ok=True)
    return path


def tool(name: str, remedy: str) -> str:
    """The path of a command, from the cache's own `bin` or from PATH.

    Raises:
        FileNotFoundError: it is in neither; the message ends with `remedy`.
    """
    search = os.pathsep.join([str(cache() / "bin"), os.environ.get("PATH", os.defpath)])
    found = shutil.which(name, path=search)
    if found is None:
        raise FileNotFoundError(f"'{name}' is not installed. {remedy}")
    return found
