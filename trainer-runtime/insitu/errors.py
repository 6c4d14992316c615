"""Every error a user of Insitu can meet, by what the reader of it can do about it.

A message says what is wrong, where, and what would be right; it never holds a secret. Code
decides by the class, never by the text. `ExitCode` is how a trainer process tells the same
thing to whoever started it.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable


class InsituError(Exception):
    """Anything Insitu refuses or gives up on."""


class ConfigurationError(InsituError):
    """The user's input can't work as written: unknown name, wrong type, contradiction."""


class AuthenticationError(InsituError):
    """The database or the store refused the credentials or the certificate."""


class DatabaseUnavailable(InsituError):
    """A database node can't be reached, or went away while it was read. Trying again may help."""


class NotOwner(InsituError):
    """The asked database node holds no readable copy of the shard any more: plan again."""


class DataLost(InsituError):
    """Rows the job counts on are gone: a lost partition, or more nodes lost than backups."""


class DataChanged(InsituError):
    """The table changed under a running epoch, so the epoch can't be exact."""


class NoRows(InsituError):
    """There is nothing to train on: not one row was read in a whole epoch."""


class UnsupportedType(InsituError):
    """A value that has no mapping to Arrow; `path` names the field, as in `val.address.street`."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"{path}: {problem}")


class ProtocolError(InsituError):
    """The server sent bytes that the protocol does not allow."""


class StoreError(InsituError):
    """The checkpoint store is full, read-only, unreachable, or can't do what commits need."""


class StaleGeneration(InsituError):
    """A newer generation of the job has taken over; this process must stop without a trace.

    `generation` is the newer one, where it is known.
    """

    generation: int | None = None

    def __init__(self, problem: str, generation: int | None = None) -> None:
        self.generation = generation
        super().__init__(problem)


class UnknownFormat(InsituError):
    """Another release of Insitu wrote it in a format that this one can't read, so this one must
    leave all of it alone.
    """


class OtherJob(InsituError):
    """Another job has begun to write its checkpoints to the same place of the store."""


class PeerLost(InsituError):
    """Another rank of this generation went away in the middle of a collective."""


class Left(InsituError):
    """Not a failure: the process was asked to stop, and left after a commit."""


class ExitCode(enum.IntEnum):
    """What a trainer process says when it ends; anything else is the user's script's own."""

    DONE = 0
    CONFIGURATION = 64
    DATA = 65
    DATABASE_UNAVAILABLE = 69
    STORE = 74
    PEER_LOST = 75
    STALE_GENERATION = 76
    NOT_OWNER = 77
    #: Asked to stop, and left after a commit.
    LEFT = 79


EXIT_CODES: tuple[tuple[type[InsituError], ExitCode], ...] = (
    (UnknownFormat, ExitCode.CONFIGURATION),
    (OtherJob, ExitCode.CONFIGURATION),
    (DatabaseUnavailable, ExitCode.DATABASE_UNAVAILABLE),
    (StoreError, ExitCode.STORE),
    (PeerLost, ExitCode.PEER_LOST),
    (StaleGeneration, ExitCode.STALE_GENERATION),
    (NotOwner, ExitCode.NOT_OWNER),
    (Left, ExitCode.LEFT),
    (DataLost, ExitCode.DATA),
    (DataChanged, ExitCode.DATA),
    (NoRows, ExitCode.DATA),
    (UnsupportedType, ExitCode.DATA),
    (ProtocolError, ExitCode.DATA),
)


def exit_code(error: InsituError) -> ExitCode:
    """What a process that ends with `error` tells whoever started it.

    Anything that only the user can put right is `CONFIGURATION`.
    """
    known = (code for kind, code in EXIT_CODES if isinstance(error, kind))
    return next(known, ExitCode.CONFIGURATION)


def nearest(wrong: str, known: Iterable[str]) -> str:
    """A ` (did you mean ...?)` for an unknown name, or the list of what there is.

    >>> nearest("pixel", ["pixels", "label"])
    " (did you mean 'pixels'?)"
    """
    names = sorted(known)
    close = difflib.get_close_matches(wrong.lower(), [n.lower() for n in names], n=1, cutoff=0.6)
    if close:
        original = next(n for n in names if n.lower() == close[0])
        return f" (did you mean '{original}'?)"
    if not names:
        return " (there is none)"
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f" (there is: {shown})"
