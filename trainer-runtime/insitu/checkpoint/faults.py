"""What went wrong in a store, in a sentence for the person who has to repair it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import (
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from insitu.errors import AuthenticationError, StoreError

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_LONGEST = 300

_RIGHT = {
    errno.ENOSPC: "the disk is full. Free some space, or keep fewer commits (checkpoint.keepLast)",
    errno.EDQUOT: "the disk quota is used up. Raise it, or keep fewer commits "
    "(checkpoint.keepLast)",
    errno.EROFS: "the filesystem is mounted read-only. Mount it writable for the trainers",
    errno.EACCES: "the trainer's user may not. Give it read and write access to the directory",
    errno.EPERM: "the filesystem does not allow it. Checkpoints need a writable directory on a "
    "filesystem with hard links",
    errno.EOPNOTSUPP: "the filesystem has no hard links, which commits need. Use another one",
    errno.ENOTDIR: "a part of its path is a file. Name a directory",
    errno.EIO: "the disk fails (input/output error). Replace it",
    errno.ESTALE: "the network filesystem's server has lost the directory. Mount it again",
}


@contextmanager
def explained(url: str, doing: str, size: int | None = None) -> Iterator[None]:
    """Turns what obstore or the operating system raises into an error of `insitu.errors`."""
    what = doing if size is None else f"{doing} ({size:,} bytes)"
    problem = f"the checkpoint store {url} can't {what}"
    try:
        yield
    except (UnauthenticatedError, PermissionDeniedError) as error:
        if (number := _number(error)) is not None:
            raise StoreError(f"{problem}: {_of_system(number)}") from error
        raise AuthenticationError(
            f"{problem}: it refused the credentials ({_first_line(error)}). Right would be "
            f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of a user who may read, write, list and "
            f"delete there"
        ) from error
    except NotSupportedError as error:
        raise StoreError(f"{problem}: it has no such operation ({_first_line(error)})") from error
    except FileNotFoundError as error:
        raise StoreError(
            f"{problem}: it is not there ({_first_line(error)}). Create the bucket or directory "
            f"first, or correct its name"
        ) from error
    except (BaseError, OSError) as error:
        number = _number(error)
        reason = _of_system(number) if number is not None else _first_line(error)
        raise StoreError(f"{problem}: {reason}") from error


def _number(error: Exception) -> int | None:
    """The operating system's number of an error, which obstore passes on in its text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _OS_ERROR.search(str(error))
    return int(found[1]) if found else None


def _of_system(number: int) -> str:
    return _RIGHT.get(number, os.strerror(number))


def _first_line(error: Exception) -> str:
    line = str(error).partition("\n")[0]
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "..."
