"""Things that are made once on a machine, by whoever needs them first."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_UNFINISHED = "unfinished-"


def once(made: Path, make: Callable[[Path], None]) -> Path:
    """Returns `made`, a file or a folder, which is either whole or not there.

    Args:
        made: What is wanted.
        make: Makes it at another path of the same file system, while nobody else does.
    """
    if made.exists():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    with (made.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            for left in made.parent.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left)  # Its maker held the lock, and crashed.
            with tempfile.TemporaryDirectory(dir=made.parent, prefix=_UNFINISHED) as work:
                make(Path(work, made.name))
                Path(work, made.name).rename(made)
    return made
