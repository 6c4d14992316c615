"""What a directory needs to be as good a store as a bucket."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

_STAGED = re.compile(r"#\d+$")
"""How obstore names a file that is still being written: `name#1`, renamed or linked at the end."""


def make_durable(root: Path, name: str) -> None:
    """Returns once `name` and the directories it is in survive a crash of the machine.

    obstore writes and renames but leaves the disk to the kernel. Directories up to `root` may be
    new; the ones that are not cost nothing.
    """
    path = root / name
    _sync(path, os.O_RDONLY)
    while path != root:
        path = path.parent
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def remove_leftovers(folder: Path) -> None:
    """Deletes files below `folder` whose writer ended before they were complete."""
    for path in folder.rglob("*#*"):
        if _STAGED.search(path.name):
            path.unlink(missing_ok=True)
    emptied = sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True)
    for directory in [*emptied, folder]:
        try:
            directory.rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.ENOENT, errno.EEXIST}:
                raise


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network filesystems can't sync a directory and keep names durable themselves.
        if not flags & os.O_DIRECTORY or error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)
