"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from insitu.errors import ConfigurationError

C = TypeVar("C", bound=Callable[..., Any])


def manifest(command: C) -> C:
    """FILE."""
    return click.argument("manifest", metavar="FILE", type=click.Path(path_type=Path))(command)


def output(command: C) -> C:
    """-o json."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="text for people, json for machines.",
    )(command)


def secrets(command: C) -> C:
    """--secret NAME=DIR."""
    return click.option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="NAME=DIR",
        help="Folder with a file for each key of a Secret. Default: secrets/NAME beside FILE.",
    )(command)


def store(command: C) -> C:
    """--store DIR|URL."""
    return click.option(
        "--store",
        metavar="DIR|URL",
        help="Where checkpoints go. Default: the manifest's bucket, or .insitu/<job>/checkpoints"
        " beside FILE.",
    )(command)


def named_folders(pairs: tuple[str, ...]) -> Mapping[str, Path]:
    """Raises `ConfigurationError` for anything that is not NAME=DIR."""
    found: dict[str, Path] = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not (name and equals and folder):
            raise ConfigurationError(f"--secret {pair}: expected NAME=DIR, as in db=./secrets/db")
        found[name] = Path(folder)
    return found
