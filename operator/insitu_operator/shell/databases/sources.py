"""From `spec.data` to a `DataSource` that this process can open: references become values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from insitu.api import Data, data_source
from insitu.databases import DataSource
from insitu_operator.kubernetes import Json
from insitu_operator.shell.databases.secrets import Reads, SecretFolder
from insitu_operator.shell.databases.services import service_addresses


@dataclass(frozen=True, slots=True)
class Opened:
    """A source, and the folder that its files are in. Close it after the database."""

    source: DataSource
    secrets: SecretFolder

    def close(self) -> None:
        self.secrets.close()


@dataclass(frozen=True, slots=True)
class Sources:
    """Opens references.

    Args:
        api: Asked for Secrets and Services by their names.
        slices: EndpointSlices by namespace and name of their Service.
        folder: Where files of Secrets are kept; the system's place for such when None.
    """

    api: Reads
    slices: Callable[[str, str], Sequence[Json]]
    folder: Path | None = None

    async def open(self, namespace: str, data: Data) -> Opened:
        """Reads everything that `data` refers to, now.

        Raises:
            ConfigurationError: something named is not there.
            DatabaseUnavailable: nothing behind the Service is ready.
            ApiProblem: the API server could not answer.
        """
        reach = data.reach
        addresses: tuple[tuple[str, int], ...] = ()
        if reach.service is not None:
            addresses = await service_addresses(
                self.api, self.slices, namespace, reach.service.name, reach.service.port
            )
        secrets = SecretFolder(self.api, namespace, self.folder)
        try:
            if reach.credentials is not None:
                await secrets.read(reach.credentials.secret_name, sent_to=hosts(namespace, data))
            if reach.tls is not None:
                await secrets.read(reach.tls.secret_name)
            source = data_source(data, secrets.files, lambda _name, _port: addresses)
        except BaseException:
            secrets.close()
            raise
        if reach.credentials and reach.credentials != reach.tls:
            secrets.drop(reach.credentials.secret_name)
        return Opened(source, secrets)


def hosts(namespace: str, data: Data) -> tuple[str, ...]:
    """What the database of a job is called where its credentials are sent to: the hosts of its
    endpoints, or its Service as `NAME.NAMESPACE.svc`.
    """
    reach = data.reach
    if reach.service is not None:
        return (f"{reach.service.name}.{namespace}.svc",)
    return tuple(
        dict.fromkeys(text.rpartition(":")[0].strip("[]") for text in reach.endpoints or ())
    )
