"""What a server's refusal means: error codes turned into Insitu's errors.

Source: section 9 of the native protocol's specification, version 4, and the texts of Apache
Cassandra 5.0. Nothing outside this file looks at such texts.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from insitu.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseUnavailable,
    InsituError,
    ProtocolError,
)


class Code(enum.IntEnum):
    """Why a request was refused."""

    PROTOCOL = 0x000A
    BAD_CREDENTIALS = 0x0100
    UNAVAILABLE = 0x1000
    OVERLOADED = 0x1001
    BOOTSTRAPPING = 0x1002
    READ_TIMEOUT = 0x1200
    READ_FAILURE = 0x1300
    SYNTAX = 0x2000
    UNAUTHORIZED = 0x2100
    INVALID = 0x2200
    CONFIG = 0x2300
    UNPREPARED = 0x2500


_MISSING_GRANT: Final = re.compile(
    r"User (?P<role>\S+) has no (?P<right>\w+) permission on <(?P<what>[^>]+)>"
)
_SMALLER_MAY_WORK: Final = frozenset({Code.OVERLOADED, Code.READ_TIMEOUT, Code.READ_FAILURE})


class ServerError(DatabaseUnavailable):
    """The server could not answer a request, for a reason that has no class of its own.

    `code` is the protocol's number, `message` the server's sentence.
    """

    def __init__(self, where: str, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"Cassandra at {where} failed (code {code:#06x}): {message}")

    @property
    def smaller_may_work(self) -> bool:
        """It took too long, or too much: a page of fewer rows may work."""
        return self.code in _SMALLER_MAY_WORK

    @property
    def overloaded(self) -> bool:
        """The server sheds load: the same may work later."""
        return self.code == Code.OVERLOADED

    @property
    def remedy(self) -> str:
        """What would help, once pages of a row each have failed too."""
        if "TOMBSTONE" in self.message.upper():
            return (
                "the range holds more deleted rows than the server may pass over "
                "(tombstone_failure_threshold): compact the table, once gc_grace_seconds are over"
            )
        if self.code == Code.READ_TIMEOUT:
            return (
                "the server is too slow for a page of even a few rows: compact the table, or "
                "raise range_request_timeout"
            )
        return "the server's log says more"


class Unprepared(InsituError):
    """The server has forgotten a prepared statement: prepare it again."""


class Refused(ConfigurationError):
    """The server does not accept a statement: a name or a type in it is not what it thinks."""


def explain(where: str, code: int, text: str) -> InsituError:
    """The error that `code` and `text` of the server at `where` (`host:port`) stand for."""
    server = f"Cassandra at {where}"
    match code:
        case Code.BAD_CREDENTIALS:
            return AuthenticationError(f"{server} refused the login: {text}")
        case Code.UNAUTHORIZED:
            return AuthenticationError(f"{server} does not allow this: {text}{_grant(text)}")
        case Code.UNPREPARED:
            return Unprepared(f"{server} has forgotten a statement: {text}")
        case Code.SYNTAX | Code.INVALID | Code.CONFIG:
            return Refused(f"{server} refused the statement: {text}")
        case Code.UNAVAILABLE:
            return DatabaseUnavailable(
                f"{server} knows no live replica for some of the asked rows: {text}"
            )
        case Code.BOOTSTRAPPING:
            return DatabaseUnavailable(f"{server} is still joining its cluster: {text}")
        case Code.PROTOCOL:
            return ProtocolError(f"{server} could not read a request: {text}")
    return ServerError(where, code, text)


def _grant(text: str) -> str:
    """The statement that gives the missing right, where the server names it.

    >>> _grant("User ann has no SELECT permission on <table k.t> or any of its parents")
    '. What is missing: GRANT SELECT ON table k.t TO ann'
    """
    found = _MISSING_GRANT.search(text)
    if found is None:
        return ""
    return f". What is missing: GRANT {found['right']} ON {found['what']} TO {found['role']}"
