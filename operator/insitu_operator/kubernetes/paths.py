"""Where things are on the API server, and what a path is about."""

from __future__ import annotations

from dataclasses import dataclass

from insitu.api import GROUP, VERSION

TRAINING_JOBS = "trainingjobs"


def training_jobs(namespace: str | None = None) -> str:
    """Those of one namespace, or of all."""
    return _collection(f"/apis/{GROUP}/{VERSION}", TRAINING_JOBS, namespace)


def training_job(namespace: str, name: str) -> str:
    return f"{training_jobs(namespace)}/{name}"


def training_job_status(namespace: str, name: str) -> str:
    return f"{training_job(namespace, name)}/status"


def pods(namespace: str | None = None) -> str:
    """Those of one namespace, or of all."""
    return _collection("/api/v1", "pods", namespace)


def pod(namespace: str, name: str) -> str:
    return f"{pods(namespace)}/{name}"


def batch_jobs(namespace: str) -> str:
    return _collection("/apis/batch/v1", "jobs", namespace)


def batch_job(namespace: str, name: str) -> str:
    return f"{batch_jobs(namespace)}/{name}"


def config_maps(namespace: str) -> str:
    return _collection("/api/v1", "configmaps", namespace)


def config_map(namespace: str, name: str) -> str:
    return f"{config_maps(namespace)}/{name}"


def services(namespace: str) -> str:
    return _collection("/api/v1", "services", namespace)


def service(namespace: str, name: str) -> str:
    return f"{services(namespace)}/{name}"


def endpoint_slices(namespace: str | None = None) -> str:
    """Those of one namespace, or of all."""
    return _collection("/apis/discovery.k8s.io/v1", "endpointslices", namespace)


def nodes() -> str:
    return "/api/v1/nodes"


def node(name: str) -> str:
    return f"{nodes()}/{name}"


def secret(namespace: str, name: str) -> str:
    return f"{_collection('/api/v1', 'secrets', namespace)}/{name}"


def events(namespace: str) -> str:
    """Of the API group events.k8s.io."""
    return _collection("/apis/events.k8s.io/v1", "events", namespace)


def leases(namespace: str) -> str:
    return _collection("/apis/coordination.k8s.io/v1", "leases", namespace)


def lease(namespace: str, name: str) -> str:
    return f"{leases(namespace)}/{name}"


def token_reviews() -> str:
    return "/apis/authentication.k8s.io/v1/tokenreviews"


def _collection(root: str, resource: str, namespace: str | None) -> str:
    return (
        f"{root}/{resource}" if namespace is None else f"{root}/namespaces/{namespace}/{resource}"
    )


@dataclass(frozen=True, slots=True)
class Target:
    """What a path is about. `group` is empty for the core API, `name` for a collection."""

    group: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        """For a person: `batch jobs ml/digits-g1`, `pods in namespace ml`, `nodes`."""
        plain = "" if "." in self.group or not self.group else f"{self.group} "
        kind = f"{plain}{self.resource}{'/' if self.subresource else ''}{self.subresource}"
        if self.name:
            return f"{kind} {self.namespace}{'/' if self.namespace else ''}{self.name}"
        return f"{kind} in namespace {self.namespace}" if self.namespace else kind

    @property
    def granted(self) -> str:
        """As a Role names it: `jobs/status (API group batch)`."""
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{resource} (API group {self.group})" if self.group else resource


def target(path: str) -> Target:
    """Of a path made by this module."""
    match path.strip("/").split("/"):
        case ["api", _, *rest]:
            group = ""
        case ["apis", group, _, *rest]:
            pass
        case _:
            raise ValueError(f"{path!r} is no path of an API server")
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = [*rest, "", ""][:3]
    return Target(group, resource, namespace, name, subresource)
