"""The addresses behind a Service, and in plain words why there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from insitu.errors import ConfigurationError, DatabaseUnavailable
from insitu_operator.kubernetes import ApiProblem, Json
from insitu_operator.kubernetes.paths import service as service_path
from insitu_operator.shell.databases.secrets import Reads

Address = tuple[str, int]


class ServiceMissing(ConfigurationError):
    """There is no such Service. Its EndpointSlices, which are watched, tell when it comes."""


async def service_addresses(
    api: Reads, slices: Callable[[str, str], Sequence[Json]], namespace: str, name: str, port: int
) -> tuple[Address, ...]:
    """The ready addresses of a Service, with the port of the pods.

    Args:
        api: Asked for the Service, which alone knows its own ports.
        slices: EndpointSlices by namespace and name of the Service.
        namespace: Of the job, and so of the Service.
        name: Of the Service.
        port: Of the Service.

    Raises:
        ServiceMissing: there is no such Service.
        ConfigurationError: it has no such port.
        DatabaseUnavailable: nothing behind it is ready.
        ApiProblem: the API server could not answer.
    """
    try:
        found = await api.get(service_path(namespace, name))
    except ApiProblem as problem:
        if problem.absent:
            raise ServiceMissing(
                f"Service '{name}' is not there in namespace '{namespace}'; a job names a Service"
                " of its own namespace"
            ) from None
        if problem.transient:
            raise
        raise ConfigurationError(str(problem)) from None
    return ready_addresses(found, slices(namespace, name), port)


def ready_addresses(service: Json, slices: Iterable[Json], port: int) -> tuple[Address, ...]:
    """As `service_addresses`, from objects that were read."""
    spec, metadata = service.get("spec", {}), service["metadata"]
    where = f"Service '{metadata['name']}' in namespace '{metadata['namespace']}'"
    if spec.get("type") == "ExternalName":
        raise ConfigurationError(
            f"{where} only points to {spec.get('externalName')}; name that address in"
            " spec.data under endpoints instead"
        )
    ports = {entry["port"]: entry.get("name") or "" for entry in spec.get("ports", ())}
    if port not in ports:
        there = ", ".join(f"{n} ({name})" if name else str(n) for n, name in ports.items())
        raise ConfigurationError(f"{where} has no port {port}; it has: {there or 'none'}")
    found = list(_endpoints(slices, ports[port]))
    ready = tuple(dict.fromkeys(address for address, is_ready in found if is_ready))
    if ready:
        return ready
    if found:
        names = ", ".join(sorted(host for (host, _), _ in found)[:5])
        raise DatabaseUnavailable(
            f"{where} has no ready endpoint: {len(found)} not ready ({names})"
        )
    selector = ",".join(f"{k}={v}" for k, v in sorted((spec.get("selector") or {}).items()))
    hint = f"no pod matches its selector {selector}" if selector else "it has no selector"
    raise DatabaseUnavailable(f"{where} has no endpoint; {hint}")


def _endpoints(slices: Iterable[Json], port: str) -> Iterator[tuple[Address, bool]]:
    for piece in slices:
        numbers = [p["port"] for p in piece.get("ports") or () if (p.get("name") or "") == port]
        for endpoint in piece.get("endpoints") or ():
            # Not said means ready: reference/kubernetes-api/service-resources/endpoint-slice-v1.
            ready = (endpoint.get("conditions") or {}).get("ready") is not False
            for number in numbers:
                for host in endpoint["addresses"]:
                    yield (host, number), ready
