"""The environment of a trainer: written by the operator, read here, readable by a person.

With `INSITU_ASSIGNMENT` the document it names says everything but secrets. Without it the
database's own variables are enough, for a script that is run alone (see standalone.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from insitu.contract import tf_config
from insitu.contract.assignment import Assignment
from insitu.contract.document import read_document
from insitu.contract.names import ALL, Names, variables
from insitu.contract.standalone import assign
from insitu.databases import Credentials, Database, DataSource, connect
from insitu.errors import ConfigurationError, nearest

_ASSIGNMENT = "INSITU_ASSIGNMENT"
_JOB = "INSITU_JOB"
_GENERATION = "INSITU_GENERATION"
_PROGRESS = "INSITU_PROGRESS"
_HEARTBEAT = "INSITU_HEARTBEAT"
_HEARTBEAT_TOKEN = "INSITU_HEARTBEAT_TOKEN"  # noqa: S105 - a name
SECRET_VARIABLES = "INSITU_SECRET_VARIABLES"  # noqa: S105 - a name
"""Names of the variables whose values come from Secrets, with commas."""

_AUDIT_DIR = "INSITU_AUDIT_DIR"
_AUDIT_COLUMN = "INSITU_AUDIT_COLUMN"
_STORE_SECRETS = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})


@dataclass(frozen=True, slots=True)
class Reporting:
    """Where a trainer tells how it is doing; all of it optional.

    `job`, `generation` and `rank` say for whom. `progress` is the file that the session replaces
    and the supervisor reads; `heartbeat` is the URL that the supervisor posts to, and
    `heartbeat_token` a file with the token that it shows there. With `audit_directory` (tests
    only) each rank writes down the `audit_column` of every row it uses.
    """

    job: str = ""
    generation: int = 0
    rank: int = 0
    progress: Path | None = None
    heartbeat: str | None = None
    heartbeat_token: Path | None = None
    audit_directory: Path | None = None
    audit_column: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Reporting:
        """Raises `ConfigurationError` for a number that is none, or an audit without a column."""
        audit = environ.get(_AUDIT_DIR)
        if audit and not environ.get(_AUDIT_COLUMN):
            raise ConfigurationError(f"{_AUDIT_DIR} is set: {_AUDIT_COLUMN} has to name a column")
        return cls(
            job=environ.get(_JOB, ""),
            generation=_integer(environ, _GENERATION, 0),
            rank=_integer(environ, "RANK", 0),
            progress=_path(environ.get(_PROGRESS)),
            heartbeat=environ.get(_HEARTBEAT) or None,
            heartbeat_token=_path(environ.get(_HEARTBEAT_TOKEN)),
            audit_directory=_path(audit),
            audit_column=environ.get(_AUDIT_COLUMN) or None,
        )

    def to_environ(self) -> dict[str, str]:
        """The variables that `to_environ` of the assignment does not write already."""
        values = {
            _PROGRESS: self.progress,
            _HEARTBEAT: self.heartbeat,
            _HEARTBEAT_TOKEN: self.heartbeat_token,
            _AUDIT_DIR: self.audit_directory,
            _AUDIT_COLUMN: self.audit_column,
        }
        return {name: str(value) for name, value in values.items() if value is not None}


def to_environ(assignment: Assignment, document: Path) -> dict[str, str]:
    """All variables of one rank; `document` is where `write_document` puts the rest.

    User name and passwords are only here, never in the document: hand the result to a process or
    a Secret, and log the names alone.
    """
    host, port = assignment.master
    environ = {
        _ASSIGNMENT: str(document),
        _JOB: assignment.job,
        _GENERATION: str(assignment.generation),
        "RANK": str(assignment.rank),
        "WORLD_SIZE": str(assignment.world_size),
        "LOCAL_RANK": "0",
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
    }
    if assignment.workers:
        environ[tf_config.NAME] = tf_config.format_tf_config(assignment.workers, assignment.rank)
    if names := ALL.get(assignment.source.kind):
        environ |= variables(
            names,
            assignment.source,
            assignment.node,
            [shard.id for shard in assignment.shards],
            local=assignment.locality == "Required",
        )
    return environ


def is_assigned(environ: Mapping[str, str]) -> bool:
    """Whether an engine of Insitu set these variables, and not only their user."""
    return bool(environ.get(_ASSIGNMENT))


def own_names(kind: str) -> frozenset[str]:
    """The variables that `to_environ` gives each rank of a generation a value of its own for."""
    names = ALL.get(kind)
    if names is None:
        return frozenset({"RANK"})
    return frozenset({"RANK", names("HOST"), names("PORT"), names(names.shards)})


def credential_names(kind: str) -> tuple[str, str] | None:
    """The variables with user name and password; None for a database without any."""
    names = ALL.get(kind)
    return (names("USERNAME"), names("PASSWORD")) if names else None


def plain_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ`, with user names, passwords and keys without the line end that editors add.

    Kubernetes passes a Secret on to the byte, and nobody means that byte: whoever reads a Secret
    from its file leaves it out too (`insitu.api.secret_value`).
    """
    names = {name for kind in ALL for name in credential_names(kind) or ()} | _STORE_SECRETS
    return {
        name: value.rstrip("\r\n") if name in names else value for name, value in environ.items()
    }


def from_environ(
    environ: Mapping[str, str], open_database: Callable[[DataSource], Database] = connect
) -> Assignment:
    """The assignment of this process.

    Without `INSITU_ASSIGNMENT` the database is asked for its topology, once, by `open_database`.

    Raises:
        ConfigurationError: nothing is set (the message lists the least that works), or a value
            can't be read, or variables and document contradict each other.
    """
    if path := environ.get(_ASSIGNMENT):
        return _documented(environ, Path(path))
    names = next((n for n in ALL.values() if _present(environ, n)), None)
    if names is None:
        raise ConfigurationError(_nothing_set(environ))
    return assign(
        names,
        environ,
        open_database,
        job=environ.get(_JOB) or "alone",
        generation=_integer(environ, _GENERATION, 0),
    )


def _documented(environ: Mapping[str, str], path: Path) -> Assignment:
    assignment = read_document(path)
    for name, said in (
        ("RANK", assignment.rank),
        ("WORLD_SIZE", assignment.world_size),
        (_GENERATION, assignment.generation),
    ):
        if _integer(environ, name, said) != said:
            raise ConfigurationError(
                f"{name}={environ[name]}, but the assignment document {path} says {said}"
            )
    names = ALL.get(assignment.source.kind)
    if names is None:
        return assignment
    source = assignment.source
    if user := environ.get(names("USERNAME")):
        password = environ.get(names("PASSWORD"), "")
        source = replace(source, credentials=Credentials(user, password))
    if source.tls and (key_password := environ.get(names("CERT_PASSWORD"))):
        source = replace(source, tls=replace(source.tls, key_password=key_password))
    return replace(assignment, source=source)


def _present(environ: Mapping[str, str], names: Names) -> bool:
    return all(environ.get(names(part)) for part in names.table)


def _nothing_set(environ: Mapping[str, str]) -> str:
    least = [" ".join(f"{n(part)}=<{n.word(part)}>" for part in n.table) for n in ALL.values()]
    text = (
        f"no assignment. Insitu's operator and `insitu run` set {_ASSIGNMENT}. To run the script "
        f"alone set at least {' or '.join(least)} (and HOST and PORT in the same way, default "
        f"localhost and {' or '.join(str(n.port) for n in ALL.values())})"
    )
    for names in ALL.values():
        similar = sorted(name for name in environ if name.startswith(names.prefix))
        if similar:
            known = [names(part) for part in names.table]
            text += f"; of these only {', '.join(similar)} is set{nearest(similar[0], known)}"
    return text


def _integer(environ: Mapping[str, str], name: str, default: int) -> int:
    value = environ.get(name) or str(default)
    try:
        return int(value)
    except ValueError as error:
        raise ConfigurationError(f"{name}={value!r} is not a whole number") from error


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None
