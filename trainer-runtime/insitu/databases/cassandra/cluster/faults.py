"""What the driver's exceptions mean: Insitu's errors, with a remedy where there is one."""

from __future__ import annotations

import re
import ssl
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

from insitu.databases import Credentials, Tls, tls
from insitu.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseUnavailable,
    InsituError,
)

_GRANT = re.compile(r"has no (\w+) permission on <([^>]+)>")

Failure = DriverException | NoHostAvailable | OSError
"""What the driver raises."""

FAILURES = (DriverException, NoHostAvailable, ConnectionException, OSError)


def explain(error: Exception, where: str, credentials: Credentials | None) -> InsituError:
    """The error that an exception of the driver at `where` (`host:port`) stands for."""
    if isinstance(error, NoHostAvailable):
        causes = _causes(error)
        for cause in causes:
            if isinstance(cause, AuthenticationFailed | Unauthorized | InvalidRequest):
                return explain(cause, where, credentials)
        said = "; ".join(dict.fromkeys(_sentence(cause) for cause in causes)) or str(error)
        return DatabaseUnavailable(f"Cassandra at {where} does not answer: {said}")
    if isinstance(error, AuthenticationFailed):
        return _login_refused(error, where, credentials)
    if isinstance(error, Unauthorized):
        return _not_allowed(error, where, credentials)
    if isinstance(error, InvalidRequest):
        return ConfigurationError(f"Cassandra at {where} refused the request: {_sentence(error)}")
    if isinstance(error, OperationTimedOut):
        return DatabaseUnavailable(f"Cassandra at {where} did not answer in time")
    return DatabaseUnavailable(f"Cassandra at {where} failed: {_sentence(error)}")


def hung_up(where: str, certificates: Tls | None, address: tuple[str, int]) -> InsituError | None:
    """What it may mean that the server just closed the connection; None if nothing special."""
    if certificates is None and tls.speaks_tls(address):
        return AuthenticationError(tls.plain_client(f"Cassandra at {where}"))
    if certificates is not None:
        return AuthenticationError(tls.unwanted(f"Cassandra at {where}", certificates))
    return None


def is_end(error: Exception) -> bool:
    """Whether the server just closed the connection, or refused our certificate."""
    causes = _causes(error) if isinstance(error, NoHostAvailable) else [error]
    return any(
        isinstance(cause, ssl.SSLError | ConnectionResetError | ConnectionException)
        and not isinstance(cause, OperationTimedOut)
        for cause in causes
    )


def _causes(error: NoHostAvailable) -> list[Exception]:
    found = error.errors
    return list(found.values()) if isinstance(found, Mapping) else []


def _login_refused(
    error: Exception, where: str, credentials: Credentials | None
) -> AuthenticationError:
    if credentials is None:
        return AuthenticationError(
            f"Cassandra at {where} asks for a user name and a password, and none was given"
        )
    return AuthenticationError(
        f"Cassandra at {where} refused user '{credentials.username}': {_sentence(error)}"
    )


def _not_allowed(
    error: Exception, where: str, credentials: Credentials | None
) -> AuthenticationError:
    user = credentials.username if credentials else "anonymous"
    if match := _GRANT.search(str(error)):
        permission, resource = match.groups()
        kind, _, name = resource.partition(" ")
        remedy = f"GRANT {permission} ON {kind.upper()} {name} TO {user}"
        return AuthenticationError(
            f"Cassandra at {where} does not allow '{user}' to {permission.lower()} from"
            f" {kind} {name}; an administrator may allow it: {remedy}"
        )
    return AuthenticationError(
        f"Cassandra at {where} does not allow this to '{user}': {_sentence(error)}"
    )


def _sentence(error: Exception) -> str:
    """The part of a driver's message that says something to a person."""
    text = str(error)
    if match := re.search(r'message="([^"]*)"', text):
        return match.group(1)
    return text.strip() or type(error).__name__
