"""What a user without TensorFlow, or with a wrong one, is told."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from insitu.errors import ConfigurationError
from insitu.tensorflow.require import tensorflow


def a_tensorflow(version: str) -> ModuleType:
    module = ModuleType("tensorflow")
    module.__version__ = version  # type: ignore[attr-defined]
    return module


def missing(name: str) -> ModuleType:
    raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def broken(_name: str) -> ModuleType:
    raise TypeError("Descriptors cannot be created directly")


def test_a_missing_tensorflow_is_named_with_what_to_install() -> None:
    with pytest.raises(ConfigurationError, match=r"needs TensorFlow: pip install 'insitu\[tensor"):
        tensorflow(missing)
    with pytest.raises(ConfigurationError, match="needs 'wrapt', for TensorFlow"):
        tensorflow(lambda _name: missing("wrapt"))


def test_an_old_or_broken_tensorflow_is_refused() -> None:
    for version in ("2.20.1", "1.15.5", "unknown"):
        with pytest.raises(ConfigurationError, match=f"{version} is too old.*2.21 or newer"):
            tensorflow(lambda _name, version=version: a_tensorflow(version))  # type: ignore[misc]
    with pytest.raises(ConfigurationError, match=r"can't be imported \(TypeError: Descriptors"):
        tensorflow(broken)


def test_newer_ones_are_taken() -> None:
    for version in ("2.21.0", "2.22.0-rc1", "3.0"):
        found = a_tensorflow(version)
        assert tensorflow(lambda _name, found=found: found) is found  # type: ignore[misc]


def test_importing_insitu_does_not_import_tensorflow() -> None:
    code = "import sys, insitu.tensorflow; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
