"""How a command ends when something is wrong: one clear paragraph, and a documented exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from insitu.errors import ConfigurationError, InsituError

P = ParamSpec("P")
R = TypeVar("R")

COMPLETE = 0
FAILED = 1
REFUSED = 2
INTERRUPTED = 130


class _Refusal(click.ClickException):
    exit_code = REFUSED


def explained(command: Callable[P, R]) -> Callable[P, R]:
    """Turns Insitu's errors into a message: 2 for what the user has to correct, 1 for others."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except InsituError as error:
            kind = _Refusal if isinstance(error, ConfigurationError) else click.ClickException
            raise kind(str(error)) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None

    return wrapped
