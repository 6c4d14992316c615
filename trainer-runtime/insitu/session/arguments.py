"""Checks what a script says about its training, before anything is done with it."""

from __future__ import annotations

import operator

from insitu.errors import ConfigurationError

MOST = 2**31 - 1


def whole_number(name: str, value: object) -> int:
    """`value`, from 1 to `MOST`; whole numbers of NumPy are taken, too.

    Raises:
        ConfigurationError: it is something else. The message begins with `name`.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if isinstance(value, bool) or not 1 <= number <= MOST:
        raise ConfigurationError(f"{name} has to be a whole number, 1 to {MOST}, not {value!r}")
    return number


def chosen(name: str, script: object, job: int | None, say: str) -> int:
    """The script's value, else the job's.

    Raises:
        ConfigurationError: neither said one (`say` is how to), or it is no whole number.
    """
    value = job if script is None else script
    if value is None:
        raise ConfigurationError(f"nobody said {name}: {say}")
    return whole_number(name, value)
