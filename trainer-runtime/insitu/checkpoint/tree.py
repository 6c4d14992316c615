"""State as users have it (nested dictionaries, lists, numbers, tensors) <-> JSON and tensors.

Everything but tensors goes into one JSON document, the skeleton; a tensor leaves a reference to
its name there. What JSON can't say is written as an object with one key that starts with `$`:

    {"$tensor": name}   {"$tuple": [...]}   {"$dict": [[key, value], ...]}
    {"$float": "nan" | "inf" | "-inf"}   {"$bytes": base64}

What is neither is refused with its path: nothing is lost silently, and nothing needs pickle.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard, TypeVar

from insitu.checkpoint.records import Json
from insitu.errors import ConfigurationError, StoreError

T = TypeVar("T")


def split(state: object, is_tensor: Callable[[object], TypeGuard[T]]) -> tuple[Json, dict[str, T]]:
    """The skeleton of `state`, and its tensors by name: their path, as in `model/fc.weight`.

    Raises:
        ConfigurationError: a value is no tensor and nothing that JSON can hold; says where.
    """
    tensors: dict[str, T] = {}

    def walk(value: object, path: tuple[str, ...]) -> Json:
        if is_tensor(value):
            name = _unused("/".join(path), tensors)
            tensors[name] = value
            return {"$tensor": name}
        if value is None or isinstance(value, bool | str) or type(value) is int:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"$float": str(value)}
        if isinstance(value, bytes):
            return {"$bytes": base64.b64encode(value).decode()}
        if type(value) is tuple or isinstance(value, list):
            items = [walk(item, (*path, str(place))) for place, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, Mapping):
            pairs = [(key, walk(item, (*path, str(key)))) for key, item in value.items()]
            if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
                return {str(key): item for key, item in pairs}
            return {"$dict": [[walk(key, path), item] for key, item in pairs]}
        raise ConfigurationError(
            f"{'/'.join(path) or 'the state'} is a {type(value).__module__}."
            f"{type(value).__qualname__}, which a checkpoint can't hold. Right would be tensors, "
            f"numbers, text, bytes, None, and lists, tuples and dictionaries of them"
        )

    return walk(state, ()), tensors


def join(skeleton: Json, tensors: Mapping[str, T]) -> Any:
    """The state that `split` took apart; dictionaries come back as `dict`.

    Raises:
        StoreError: a tensor that the skeleton names is not there.
    """

    def build(value: Json) -> Any:
        if isinstance(value, list):
            return [build(item) for item in value]
        if not isinstance(value, dict):
            return value
        match value:
            case {"$tensor": str(name)}:
                if name not in tensors:
                    raise StoreError(
                        f"the checkpoint has no tensor '{name}', which its state names"
                    )
                return tensors[name]
            case {"$tuple": list(items)}:
                return tuple(build(item) for item in items)
            case {"$dict": list(pairs)}:
                return {build(pair[0]): build(pair[1]) for pair in pairs if isinstance(pair, list)}
            case {"$float": str(text)}:
                return float(text)
            case {"$bytes": str(text)}:
                return base64.b64decode(text)
            case _:
                return {key: build(item) for key, item in value.items()}

    return build(skeleton)


def _unused(name: str, names: Mapping[str, object]) -> str:
    """`name`, or with a number behind it: paths like `a/b` and `a`, `b` can look alike."""
    number, free = 1, name
    while free in names:
        number += 1
        free = f"{name}#{number}"
    return free
