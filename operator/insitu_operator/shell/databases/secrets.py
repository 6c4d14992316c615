"""Secrets as files, as Kubernetes mounts them, for as long as a database is open.

A Secret is read by its name, in the namespace of the job that names it: the operator needs no
right to list any.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from insitu.errors import ConfigurationError
from insitu_operator.kubernetes import ApiProblem, Json
from insitu_operator.kubernetes.paths import secret


class Reads(Protocol):
    """An API server that is asked for single objects."""

    async def get(self, path: str) -> Json: ...


MOST_BYTES = 64 << 10
"""Of one Secret: all jobs of all namespaces share the memory that the operator keeps them in."""

HOSTS = "insitu.dev/hosts"
"""The annotation of a Secret with the hosts that the operator may send its values to.

Whoever writes a TrainingJob names a Secret and a host, and need not have the right to read the one
or to own the other: so the Secret itself says where it belongs.
"""


def is_for(secret: Json, host: str) -> bool:
    """Whether the Secret names the host, in small letters or not."""
    told = (secret.get("metadata") or {}).get("annotations") or {}
    patterns = (pattern.strip().lower() for pattern in str(told.get(HOSTS, "")).split(","))
    return any(pattern and fnmatchcase(host.lower(), pattern) for pattern in patterns)


class SecretFolder:
    """The Secrets of one namespace that have been read, in a folder of their own.

    Only this user can read the files, and they are gone when the folder is closed.
    """

    def __init__(self, api: Reads, namespace: str, parent: Path | None = None) -> None:
        self._api = api
        self._namespace = namespace
        self._folder = tempfile.TemporaryDirectory(  # Of mode 0700.
            prefix="insitu-secrets-", dir=parent, ignore_cleanup_errors=True
        )
        self._files: dict[str, dict[str, Path]] = {}

    async def read(self, name: str, *, sent_to: Iterable[str] = ()) -> None:
        """Args:
        name: Of the Secret.
        sent_to: Hosts that its values are going to be sent to; each has to be one of those that
            the Secret itself names.

        Raises:
            ConfigurationError: it is not there or too large, the operator may not read it, or it
                is not for one of the hosts.
            ApiProblem: the API server could not answer.
        """
        if name in self._files:
            return
        try:
            found = await self._api.get(secret(self._namespace, name))
        except ApiProblem as problem:
            if problem.absent:
                raise ConfigurationError(
                    f"Secret '{name}' is not there in namespace '{self._namespace}'; create it"
                    " beside the job"
                ) from None
            if problem.transient:
                raise
            raise ConfigurationError(str(problem)) from None
        for host in sent_to:
            if not is_for(found, host):
                raise ConfigurationError(
                    f"Secret '{name}' may not be sent to host '{host}': whoever answers for the"
                    f" Secret has to allow it, as with `kubectl annotate secret {name}"
                    f" {HOSTS}={host}` (several with commas, * for any part of a name)"
                )
        values = {key: base64.b64decode(text) for key, text in (found.get("data") or {}).items()}
        if (size := sum(map(len, values.values()))) > MOST_BYTES:
            raise ConfigurationError(
                f"Secret '{name}' has {size:,} bytes. The operator keeps it in memory while it asks"
                f" the database, and takes {MOST_BYTES:,} at most: put the credentials or"
                " certificates of the database into a Secret of their own"
            )
        self._files[name] = _write(Path(self._folder.name, name), values)

    def files(self, name: str) -> Mapping[str, Path]:
        """Of a Secret that has been read; an `insitu.api.SecretFiles`."""
        return self._files[name]

    def drop(self, name: str) -> None:
        """Removes the files of a Secret whose values have been taken into memory."""
        for path in self._files.pop(name, {}).values():
            path.unlink()

    def close(self) -> None:
        """Removes everything. Safe to call twice."""
        self._files.clear()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _write(folder: Path, values: Mapping[str, bytes]) -> dict[str, Path]:
    folder.mkdir(mode=0o700)
    paths = {key: folder / key for key in values}
    for key, path in paths.items():
        new = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(new, "wb") as file:
            file.write(values[key])
    return paths
