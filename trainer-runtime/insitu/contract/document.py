"""The assignment as a JSON document: everything but secrets, which only environments carry.

Where there is little room for it, the document may be packed: gzip, then base64.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from insitu.contract.assignment import Assignment
from insitu.errors import ConfigurationError

_FORMAT = "insitu.assignment/1"
_ASSIGNMENT: TypeAdapter[Assignment] = TypeAdapter(Assignment)
_SECRETS: Any = {"source": {"credentials": True, "tls": {"key_password"}}}


def to_document(assignment: Assignment) -> str:
    """The text of the document."""
    # The operator writes one for each rank, and each names all nodes: pydantic's own writer takes a
    # third of the time that `json` takes.
    rest = _ASSIGNMENT.dump_json(assignment, exclude=_SECRETS).decode()
    return f'{{"format":"{_FORMAT}",{rest[1:]}'


def packed(text: str) -> str:
    """A document in a few percent of its size, and the same again for the same text."""
    # The highest level takes nine times as long as this one, and saves 4 %.
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def write_document(assignment: Assignment, path: Path) -> None:
    """Writes `assignment` to `path`, replacing what was there in one go."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(to_document(assignment), encoding="utf-8")
    fresh.replace(path)


def read_document(path: Path) -> Assignment:
    """The assignment without its secrets, from a document that is packed or not.

    Raises:
        ConfigurationError: the file can't be read or holds something else.
    """
    try:
        value = json.loads(_unpacked(path.read_text(encoding="utf-8")))
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


def _unpacked(text: str) -> str:
    if text.lstrip().startswith("{"):
        return text
    try:
        return gzip.decompress(base64.b64decode(text, validate=True)).decode()
    except (binascii.Error, OSError, EOFError, zlib.error):
        return text  # Neither one nor the other; whoever reads it as JSON says what is wrong.
