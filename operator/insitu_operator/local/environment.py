"""The command and environment of a trainer, by the rules of a pod."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from insitu.api import SecretFiles, Spec, secret_value
from insitu.api.spec import S3Store
from insitu_operator.core.stores import S3_SECRETS, s3_variables

_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` becomes a known value and else stays; `$$` is one dollar sign.

    As in the Kubernetes API: reference/kubernetes-api/workload-resources/pod-v1, `command`.
    """

    def replacement(match: re.Match[str]) -> str:
        name = match.group(2)
        return "$" if name is None else values.get(name, match.group(0))

    return _REFERENCE.sub(replacement, text)


def user_environment(spec: Spec, secret: SecretFiles) -> dict[str, str]:
    """The variables of `spec.trainer.env`, each of which may use those before it.

    Raises:
        ConfigurationError: a Secret or one of its keys is missing.
    """
    values: dict[str, str] = {}
    for variable in spec.trainer.env:
        if variable.value_from:
            ref = variable.value_from.secret_key_ref
            values[variable.name] = secret_value(ref.name, ref.key, secret)
        else:
            values[variable.name] = expand(variable.value or "", values)
    return values


def store_environment(store: S3Store | None, secret: SecretFiles) -> dict[str, str]:
    """How an S3 store is reached, in the variables that all of its clients know.

    Raises:
        ConfigurationError: the Secret or one of its keys is missing.
    """
    if store is None:
        return {}
    values = s3_variables(store)
    if store.credentials:
        name = store.credentials.secret_name
        values |= {n: secret_value(name, key, secret) for n, key in S3_SECRETS.items()}
    return values


def base_environment(world_size: int) -> dict[str, str]:
    """This process's own, with its Python first, and the cores shared out between the ranks."""
    here = str(Path(sys.executable).parent)
    threads = max(1, (os.cpu_count() or 1) // max(1, world_size))
    return {
        "OMP_NUM_THREADS": str(threads),
        **os.environ,
        "PATH": os.pathsep.join([here, os.environ.get("PATH", os.defpath)]),
    }


def command_line(spec: Spec, values: Mapping[str, str]) -> list[str]:
    """The program and its arguments, expanded."""
    return [expand(part, values) for part in (*spec.trainer.command, *spec.trainer.args)]
