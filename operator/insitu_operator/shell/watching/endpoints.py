"""EndpointSlices by their Service, as the watch has shown them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from insitu_operator.shell.watching import fingerprints
from insitu_operator.shell.watching.versions import version

Json = dict[str, Any]

SERVICE_NAME = "kubernetes.io/service-name"
"""The label of an EndpointSlice that says whose it is."""

DELETED = "DELETED"
"""The kind of event that says so."""


class Service(NamedTuple):
    """Which Service is meant."""

    namespace: str
    name: str


SliceId = tuple[Service, str]


class Endpoints:
    """`take` and `lose` return the Service whose endpoints changed, if they did."""

    def __init__(self) -> None:
        self._slices: defaultdict[Service, dict[str, Json]] = defaultdict(dict)

    def of(self, service: tuple[str, str]) -> tuple[Json, ...]:
        """All slices of a Service."""
        return tuple(self._slices.get(Service(*service), {}).values())

    @property
    def known(self) -> Iterator[SliceId]:
        """All slices of all Services."""
        return ((service, name) for service, known in self._slices.items() for name in known)

    def take(self, kind: str | None, body: Json) -> Service | None:
        """An event of the watch, or an object of a list."""
        service, name = slice_id(body)
        if kind == DELETED:
            return self.lose((service, name))
        before = self._slices[service].get(name)
        if before and version(body) < version(before):
            return None
        self._slices[service][name] = body
        same = before and fingerprints.endpoint_slice(before) == fingerprints.endpoint_slice(body)
        return None if same else service

    def lose(self, gone: SliceId) -> Service | None:
        """It is not there any more."""
        service, name = gone
        lost = self._slices.get(service, {}).pop(name, None)
        if not self._slices.get(service):
            self._slices.pop(service, None)
        return service if lost else None


def slice_id(body: Json) -> SliceId:
    """Its Service, which is nameless when a user made it for none, and its own name."""
    metadata = body["metadata"]
    service = (metadata.get("labels") or {}).get(SERVICE_NAME, "")
    return Service(metadata["namespace"], service), metadata["name"]
