"""TensorFlow where it is needed, and one clear message where it is not there."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from insitu.errors import ConfigurationError

OLDEST = (2, 21)
_INSTALL = "pip install 'insitu[tensorflow]'"


def tensorflow(load: Callable[[str], ModuleType] = importlib.import_module) -> Any:
    """The module `tensorflow`, imported when it is first asked for: that takes seconds.

    Raises:
        ConfigurationError: it is not installed, too old, or can't be imported.
    """
    try:
        module = load("tensorflow")
    except ModuleNotFoundError as error:
        missing = "TensorFlow" if error.name == "tensorflow" else f"'{error.name}', for TensorFlow"
        raise ConfigurationError(f"insitu.tensorflow needs {missing}: {_INSTALL}") from error
    except Exception as error:
        raise ConfigurationError(
            f"TensorFlow is installed but can't be imported ({type(error).__name__}: {error}): "
            f"install it anew ({_INSTALL})"
        ) from error
    found = str(getattr(module, "__version__", "unknown"))
    if _version(found) < OLDEST:
        raise ConfigurationError(
            f"TensorFlow {found} is too old; insitu.tensorflow needs "
            f"{'.'.join(map(str, OLDEST))} or newer: {_INSTALL}"
        )
    return module


def _version(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split(".")[:2]:
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)
