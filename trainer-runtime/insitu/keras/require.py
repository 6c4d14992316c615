"""Keras where it is needed, and one clear message where it is not there or can't be used so."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from insitu.errors import ConfigurationError

_WAYS = (
    "On many workers write the loop yourself: insitu.tensorflow.session() with a Keras model and "
    "optimizer, or insitu.torch.session() with Keras on its torch backend (KERAS_BACKEND=torch)"
)


def keras(load: Callable[[str], ModuleType] = importlib.import_module) -> Any:
    """The module `keras`, of version 3 and on its TensorFlow backend.

    Raises:
        ConfigurationError: it is not installed, is too old, or has another backend.
    """
    try:
        module: Any = load("keras")
    except ImportError as error:
        raise ConfigurationError(
            f"insitu.keras needs Keras: pip install 'insitu[tensorflow]' ({error})"
        ) from error
    found = str(getattr(module, "__version__", "unknown"))
    if not found.partition(".")[0].isdecimal() or int(found.partition(".")[0]) < 3:
        raise ConfigurationError(f"Keras {found} is too old; insitu.keras needs Keras 3")
    backend = module.backend.backend()
    if backend != "tensorflow":
        raise ConfigurationError(
            f"Keras runs on {backend}; insitu.keras feeds fit() on the TensorFlow backend. {_WAYS}"
        )
    return module


def refuse_many(world_size: int, model: Any = None) -> None:
    """Raises `ConfigurationError` where `fit` would train on more than one worker."""
    strategy = type(getattr(model, "distribute_strategy", None)).__name__
    if world_size > 1 or strategy == "CollectiveAllReduceStrategy":
        raise ConfigurationError(
            "fit() of Keras 3 does not work with tf.distribute.MultiWorkerMirroredStrategy (known "
            f"upstream), so it trains on one worker only, and this job has {world_size}. {_WAYS}"
        )
