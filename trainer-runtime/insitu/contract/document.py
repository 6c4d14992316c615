"""The assignment as a JSON document: everything but secrets, which only environments carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from insitu.contract.assignment import Assignment
from insitu.errors import ConfigurationError

_FORMAT = "insitu.assignment/1"
_ASSIGNMENT: TypeAdapter[Assignment] = TypeAdapter(Assignment)
_SECRETS: Any = {"source": {"credentials": True, "tls": {"key_password"}}}


def write_document(assignment: Assignment, path: Path) -> None:
    """Writes `assignment` to `path`, replacing what was there in one go."""
    value = {"format": _FORMAT} | _ASSIGNMENT.dump_python(assignment, mode="json", exclude=_SECRETS)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(value, indent=1), encoding="utf-8")
    fresh.replace(path)


def read_document(path: Path) -> Assignment:
    """The assignment without its secrets.

    Raises:
        ConfigurationError: the file can't be read or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"the assignment document {path} can't be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"the assignment document {path} is not JSON: {error}") from error
    found = value.pop("format", None) if isinstance(value, dict) else None
    if found != _FORMAT:
        raise ConfigurationError(
            f"the assignment document {path} has the format {found!r}; this version of insitu "
            f"reads {_FORMAT!r}"
        )
    try:
        return _ASSIGNMENT.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"the assignment document {path} is wrong at {where}: {first['msg']}"
        ) from error
