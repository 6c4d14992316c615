"""From `spec.data` to the `DataSource` that databases are opened with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from insitu.api.data import Data
from insitu.databases import Credentials, DataSource, Tls
from insitu.errors import ConfigurationError, nearest

SecretFiles = Callable[[str], Mapping[str, Path]]
"""Files of a Secret by key. Raises `ConfigurationError` when there is no such Secret."""

Addresses = Callable[[str, int], tuple[tuple[str, int], ...]]
"""Addresses behind a Service's name and port."""


def data_source(data: Data, secret: SecretFiles, service: Addresses) -> DataSource:
    """Opens the references of `spec.data`: Secrets through `secret`, a Service through `service`.

    Raises:
        ConfigurationError: a Secret or one of its keys is missing.
    """
    reach = data.reach
    if reach.endpoints is not None:
        endpoints = tuple(_endpoint(text) for text in reach.endpoints)
    else:
        assert reach.service is not None
        endpoints = service(reach.service.name, reach.service.port)
    return DataSource(
        kind=data.kind,
        endpoints=endpoints,
        table=data.table,
        columns=reach.columns,
        credentials=_credentials(reach.credentials.secret_name, secret)
        if reach.credentials
        else None,
        tls=_tls(reach.tls.secret_name, secret) if reach.tls else None,
        options=data.options,
    )


def secret_value(name: str, key: str, secret: SecretFiles) -> str:
    """One key's text without the line end that editors add.

    Raises:
        ConfigurationError: there is no such Secret, or it has no such key.
    """
    files = secret(name)
    if key not in files:
        raise ConfigurationError(f"secret '{name}' has no key '{key}'{nearest(key, files)}")
    return files[key].read_text(encoding="utf-8").rstrip("\r\n")


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _credentials(name: str, secret: SecretFiles) -> Credentials:
    return Credentials(
        username=secret_value(name, "username", secret),
        password=secret_value(name, "password", secret),
    )


def _tls(name: str, secret: SecretFiles) -> Tls:
    files = secret(name)
    certificate, key = files.get("tls.crt"), files.get("tls.key")
    if "ca.crt" not in files and certificate is None:
        raise ConfigurationError(
            f"secret '{name}' holds neither 'ca.crt' nor 'tls.crt'{nearest('ca.crt', files)}"
        )
    if (certificate is None) != (key is None):
        lone, missing = ("tls.crt", "tls.key") if key is None else ("tls.key", "tls.crt")
        raise ConfigurationError(f"secret '{name}' has '{lone}' but no '{missing}'")
    return Tls(ca=files.get("ca.crt"), certificate=certificate, key=key)
