"""What a server's refusal means: its Java texts turned into Insitu's errors.

Ignite answers most failures with status 1 and a message that ends in a dump of Java objects, so
the text is all there is to decide on. Nothing outside this file looks at such texts.
"""

from __future__ import annotations

import re

from insitu.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseUnavailable,
    DataLost,
    InsituError,
    NotOwner,
)

NO_CACHE = 1000
AUTHENTICATION_FAILED = 2000
_SECURITY = 1012
_RESOURCE_GONE = 1011

_CLASS = re.compile(r"^(?:\d{5}: )?(?:class |Caused by: )*(?:(?:[a-z_]\w*\.)+[A-Z][\w$]*: ?)?")
_DUMP = re.compile(r"\s*\[[^\s\[\]=]+(?: [^\s\[\]=]+){0,3}=.*$", re.DOTALL)


class ServerError(InsituError):
    """The server refused a request for a reason that has no class of its own.

    `status` is the protocol's number, `message` the server's sentence without its Java dump.
    """

    def __init__(self, where: str, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(f"Ignite at {where} refused the request (status {status}): {message}")

    @property
    def out_of_memory(self) -> bool:
        """The server could not build the reply on its heap: a smaller page may work."""
        return "java heap space" in self.message.lower()

    @property
    def no_sql(self) -> bool:
        """The server has no SQL engine at all."""
        return "indexing is disabled" in self.message.lower()

    @property
    def no_such_table(self) -> bool:
        """A query names a table, view or schema that is not there, or not there yet."""
        missing = r'(table|schema) "[^"]*" not found'
        return re.search(missing, self.message, re.IGNORECASE) is not None


def sentence(text: str) -> str:
    """The part of a server's message that says something to a person.

    >>> sentence("class o.a.i.IgniteCheckedException: No nodes for 7 [query=CacheQuery [a=1]]")
    'No nodes for 7'
    """
    line = text.strip().split("\n", 1)[0].split("; SQL statement:", 1)[0].strip()
    while (match := _CLASS.match(line)) and 0 < match.end() < len(line):
        line = line[match.end() :]
    said = _DUMP.sub("", line).strip() or line or "no reason given"
    return re.sub(r"\blostParts?\b", "lost", said)  # the server forgets a space before its dump


def explain(where: str, status: int, text: str) -> InsituError:
    """The error that `text` of the server at `where` (`host:port`) stands for."""
    said = sentence(text)
    low = text.lower()
    if status == AUTHENTICATION_FAILED:
        return AuthenticationError(f"Ignite at {where} refused the login: {said}")
    if status == _SECURITY or "authorization failed" in low:
        return AuthenticationError(f"Ignite at {where} does not allow this: {said}")
    if status == NO_CACHE:
        return ConfigurationError(f"Ignite at {where} has no such cache any more: {said}")
    if "no queryable nodes for partition" in low or "can not be reserved" in low:
        return NotOwner(f"Ignite node {where} has no readable copy of the partition: {said}")
    if "failed to reserve partition" in low:
        return NotOwner(f"Ignite node {where} has no readable copy of a partition: {said}")
    if "partition" in low and re.search(r"\blost", low):
        return DataLost(
            f"Ignite at {where}: {said.rstrip('.')}. A partition has lost all its copies; bring "
            "its nodes back, or reset it with Ignite's control utility and load the rows again"
        )
    if "cluster is inactive" in low or "cluster is not active" in low:
        return DatabaseUnavailable(
            f"the Ignite cluster at {where} is not active; activate it first "
            "(control.sh --set-state ACTIVE)"
        )
    if any(words in low for words in ("node in recovery mode", "is stopping", "node stopped")):
        return DatabaseUnavailable(f"Ignite at {where} is starting or stopping: {said}")
    return ServerError(where, status, said)


def no_such_template(error: ServerError, template: str) -> bool:
    """Whether a table was refused because the servers have no cache template of that name."""
    return f"cache doesn't exist: {template}".lower() in error.message.lower()


def starting(status: int, text: str) -> bool:
    """Whether a failed handshake only says that the node has not finished its start."""
    return status != AUTHENTICATION_FAILED and "recovery mode" in text.lower()
