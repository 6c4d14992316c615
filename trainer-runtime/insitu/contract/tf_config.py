"""`TF_CONFIG`: how TensorFlow is told who its workers are, and which one this process is.

See https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from insitu.errors import ConfigurationError

NAME = "TF_CONFIG"
Workers = tuple[tuple[str, int], ...]


def format_tf_config(workers: Sequence[tuple[str, int]], rank: int) -> str:
    """The variable's value: `workers` are the addresses of all ranks, in their order."""
    return json.dumps(
        {
            "cluster": {"worker": format_addresses(workers)},
            "task": {"type": "worker", "index": rank},
        }
    )


def shared(workers: Sequence[tuple[str, int]], variable: str) -> str:
    """The value for whoever puts a rank's number in the place of `variable`, as `$(RANK)`."""
    text = format_tf_config(workers, 0)
    head, number, tail = text.rpartition("0")
    assert json.loads(f"{head}1{tail}")["task"]["index"] == int(number) + 1
    return f"{head}{variable}{tail}"


def format_addresses(workers: Sequence[tuple[str, int]]) -> list[str]:
    """Addresses as TensorFlow takes them: IPv6 in brackets."""
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in workers]


def read_tf_config(environ: Mapping[str, str]) -> tuple[Workers, int] | None:
    """The addresses of all workers and the number of this one; None where nothing is set.

    A `chief` is the first worker.

    Raises:
        ConfigurationError: it is no such document, or has tasks that do not train.
    """
    text = environ.get(NAME)
    if not text:
        return None
    try:
        document = json.loads(text)
        cluster = document["cluster"]
        kind, index = document["task"]["type"], int(document["task"]["index"])
        chiefs = [*cluster.get("chief", []), *cluster.get("master", [])]
        workers = tuple(_address(each) for each in [*chiefs, *cluster.get("worker", [])])
        place = {"chief": 0, "master": 0, "worker": len(chiefs)}[kind] + index
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{NAME} can't be read ({type(error).__name__}: {error}): right would be "
            f"{format_tf_config([('host-0', 2222), ('host-1', 2222)], 0)}"
        ) from error
    if not 0 <= place < len(workers):
        raise ConfigurationError(f"{NAME} says task {kind} {index} of {len(workers)} workers")
    return workers, place


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
