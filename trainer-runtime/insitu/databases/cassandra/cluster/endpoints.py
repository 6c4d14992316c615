"""The first of several endpoints that answers."""

from __future__ import annotations

from insitu.databases import DataSource
from insitu.databases.cassandra.protocol.connection import Connection
from insitu.errors import ConfigurationError, DatabaseUnavailable


def first_answering(source: DataSource, timeout: float) -> tuple[Connection, tuple[str, int]]:
    """A logged-in connection, and the endpoint it leads to.

    Raises:
        ConfigurationError: `source` names no endpoint.
        AuthenticationError: a certificate or the login is refused.
        DatabaseUnavailable: no endpoint answers.
    """
    if not source.endpoints:
        raise ConfigurationError("no endpoint is given: name one Cassandra node as host:port")
    failures: list[DatabaseUnavailable] = []
    for host, port in source.endpoints:
        try:
            return open_at(source, host, port, timeout), (host, port)
        except DatabaseUnavailable as failure:
            failures.append(failure)
    if len(failures) == 1:
        raise failures[0]
    raise DatabaseUnavailable(
        "no Cassandra endpoint answers:\n" + "\n".join(f"  {failure}" for failure in failures)
    )


def open_at(source: DataSource, host: str, port: int, timeout: float) -> Connection:
    """A logged-in connection to one address; raises as `Connection.open` does."""
    return Connection.open(
        host, port, credentials=source.credentials, tls=source.tls, timeout=timeout
    )
