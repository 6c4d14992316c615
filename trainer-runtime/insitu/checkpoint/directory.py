"""What a directory needs to be as good a store as a bucket."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path
from secrets import randbelow

_STAGED = re.compile(r"#\d+$")
"""How a file is named that is still being written; obstore does so too, and lists none of them."""

_Buffer = bytes | bytearray | memoryview


def write(root: Path, name: str, buffers: Sequence[_Buffer], *, create: bool) -> bool:
    """Writes the file `name` below `root` as a whole: it gets its name when it is on the disk.

    Returns once the file, its name, and the directories it is in survive a crash of the machine.
    After an error a new call writes everything anew: a kernel that could not write a page to the
    disk forgets it, and says at the next sync that all is well.

    Returns:
        Whether the file was written; False with `create` if the name was taken.

    Raises:
        OSError: it could not be; with `create`, nothing has the name then.
    """
    path = root / name
    _make_directory(path.parent)
    staged = path.with_name(f"{path.name}#{randbelow(10**18)}")
    try:
        with staged.open("xb") as file:
            for buffer in buffers:
                file.write(buffer)
            file.flush()
            os.fsync(file.fileno())
        if not create:
            staged.replace(path)
        elif not _linked(staged, path):
            return False
    finally:
        staged.unlink(missing_ok=True)
    try:
        for directory in _between(path.parent, root):
            _sync_directory(directory)
    except OSError:
        if create:  # The name may get lost, so it must not seem to be taken.
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return True


def remove_leftovers(folder: Path) -> None:
    """Deletes what writers left in the folders of steps in `folder`, the folder of a fence, when
    they ended before it was complete. What lies deeper, or has another name, is somebody else's.
    """
    steps = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    for path in (file for step in steps for file in step.glob("*#*")):
        if _STAGED.search(path.name) and path.is_file():
            path.unlink(missing_ok=True)
    for directory in [*steps, folder]:
        try:
            directory.rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.ENOENT, errno.EEXIST}:
                raise


def _linked(staged: Path, path: Path) -> bool:
    """Whether `path` is a name of `staged` now; it is not if the name was taken."""
    try:
        os.link(staged, path)
    except OSError as error:
        # A network filesystem may have done it, and lost the answer. Then it has two names.
        if staged.stat().st_nlink > 1:
            return True
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error


def _between(path: Path, root: Path) -> list[Path]:
    """`path` and the directories above it up to `root`; those that are not new cost nothing."""
    return [path, *(parent for parent in path.parents if parent.is_relative_to(root))]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network filesystems can't sync a directory and keep names durable themselves.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)
