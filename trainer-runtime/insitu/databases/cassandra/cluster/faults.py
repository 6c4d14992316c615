"""What the driver's exceptions mean: the same errors that our own connections raise."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cassandra import (
    AuthenticationFailed,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    Unauthorized,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException

from insitu.databases.cassandra.protocol import faults
from insitu.databases.cassandra.protocol.faults import Code
from insitu.errors import DatabaseUnavailable, InsituError

FAILURES = (DriverException, NoHostAvailable, ConnectionException, OSError)
"""What the driver raises."""

_SAID = re.compile(r'message="([^"]*)"')


def explain(error: Exception, where: str) -> InsituError:
    """The error that an exception of the driver at `where` (`host:port`) stands for."""
    match error:
        case AuthenticationFailed():
            return faults.explain(where, Code.BAD_CREDENTIALS, _sentence(error))
        case Unauthorized():
            return faults.explain(where, Code.UNAUTHORIZED, _sentence(error))
        case InvalidRequest():
            return faults.explain(where, Code.INVALID, _sentence(error))
        case OperationTimedOut():
            return DatabaseUnavailable(f"Cassandra at {where} did not answer in time")
        case NoHostAvailable():
            causes = _causes(error)
            for cause in causes:
                if isinstance(cause, AuthenticationFailed | Unauthorized | InvalidRequest):
                    return explain(cause, where)
            said = "; ".join(dict.fromkeys(map(_sentence, causes))) or str(error)
            return DatabaseUnavailable(f"Cassandra at {where} does not answer: {said}")
    return DatabaseUnavailable(f"Cassandra at {where} failed: {_sentence(error)}")


def _causes(error: NoHostAvailable) -> list[Exception]:
    return list(error.errors.values()) if isinstance(error.errors, Mapping) else []


def _sentence(error: Exception) -> str:
    """The part of a driver's message that says something to a person."""
    said = _SAID.search(str(error))
    return said.group(1) if said else str(error).strip() or type(error).__name__
