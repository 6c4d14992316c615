"""What the API server does with a request, and what it refuses.

Modelled: versions and their conflicts, preconditions on a uid, `generateName`, `generation`, merge
patches, the strategic merge patch of a gated pod and what of a pod can't be changed, deletion with
grace, the finalizer of a Job's pods, `propagationPolicy`, the subresource `status`, the schema of a
TrainingJob, label and field selectors.

Not modelled: admission, defaulting, pruning and CEL rules, quotas, rights, server-side apply, the
pages of a list, watches that expire, namespaces that end, and clocks that differ. Beside it the Job
controller knows Indexed Jobs only, the scheduler neither preempts nor scores, kubelets pull no
images, and machines are never lost. A list shows the newest state, as one that asks for no version
does; it may come late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from insitu_operator.crd import definition
from insitu_operator.kubernetes.paths import Target, target
from tests.simulator.schema import complaints
from tests.simulator.store import Id, Json, Store, copied

TRACKING = "batch.kubernetes.io/job-tracking"
_ENDED = ("Succeeded", "Failed")


class Refused(Exception):
    """As the API server says it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `verb` as a Role names it, `content` is the media type of the body."""

    verb: str
    path: str
    query: Mapping[str, str]
    body: Json
    content: str = "application/json"

    @property
    def target(self) -> Target:
        return target(self.path)

    @property
    def writes(self) -> bool:
        return self.verb not in ("get", "list")

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


class Server:
    """Over a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def answer(self, request: Request) -> Json:
        """What it answers.

        Raises:
            Refused: it does not do that.
        """
        about = request.target
        which = Id(about.resource, about.namespace, about.name)
        match request.verb:
            case "list":
                found = self._store.of(about.resource, about.namespace)
                return {"items": [_bare(b) for b in found if _selected(b, request.query)]}
            case "get":
                return self._found(which)
            case "create":
                return self._create(which, copied(request.body))
            case "update":
                return self._replace(which, copied(request.body))
            case "patch" if "strategic" in request.content:
                return self._bind(which, copied(request.body))
            case "patch":
                return self._merge(which, about.subresource, copied(request.body))
            case "delete":
                return self._delete(which, request.body)
        raise Refused(405, "MethodNotAllowed", f"{request.verb} is not simulated")

    def _found(self, which: Id) -> Json:
        body = self._store.find(which)
        if body is None:
            raise Refused(404, "NotFound", f'{which.resource} "{which.name}" not found')
        return body

    def _create(self, which: Id, body: Json) -> Json:
        metadata = body["metadata"]
        name = metadata.get("name") or metadata["generateName"] + self._store.uid()
        which = which._replace(name=name)
        if self._store.find(which) is not None:
            raise Refused(409, "AlreadyExists", f'{which.resource} "{name}" already exists')
        if which.resource == "trainingjobs":
            body.pop("status", None)
            _check(which, body)
        return self._store.add(which, body)

    def _replace(self, which: Id, body: Json) -> Json:
        found = self._found(which)
        _check_version(which, found, body)
        kept = {"uid", "creationTimestamp", "generation", "deletionTimestamp"}
        body["metadata"] |= {k: v for k, v in found["metadata"].items() if k in kept}
        return self._store.put(which, body)

    def _merge(self, which: Id, subresource: str, patch: Json) -> Json:
        found = self._found(which)
        _check_version(which, found, patch)
        custom = which.resource == "trainingjobs"
        part = "status" if subresource == "status" else "spec"
        if part == "status" and not custom:
            raise Refused(405, "MethodNotAllowed", "only that of TrainingJobs is simulated")
        after = copied(found)
        _merged(after, {key: value for key, value in patch.items() if key == part})
        if custom:
            _check(which, after)
        if after.get(part) == found.get(part):
            return found
        if part == "spec":
            after["metadata"]["generation"] += 1
        return self._store.put(which, after)

    def _bind(self, which: Id, patch: Json) -> Json:
        """All that Insitu asks of a strategic merge patch."""
        found = self._found(which)
        _check_uid(which, found, patch["metadata"].get("uid"))
        after = copied(found)
        metadata, spec, asked = after["metadata"], after["spec"], patch.get("spec", {})
        metadata.setdefault("annotations", {}).update(patch["metadata"].get("annotations", {}))
        removed = {gate["name"] for gate in asked.get("schedulingGates", ())}
        gates = spec.get("schedulingGates", [])
        if asked.get("nodeSelector", {}).items() - spec.get("nodeSelector", {}).items():
            if not gates:
                raise Refused(
                    422, "Invalid", "pod updates may not change fields other than its image"
                )
            if asked["nodeSelector"].keys() & spec.get("nodeSelector", {}).keys():
                raise Refused(422, "Invalid", "spec.nodeSelector: field is immutable")
            spec.setdefault("nodeSelector", {}).update(asked["nodeSelector"])
        if kept := [gate for gate in gates if gate["name"] not in removed]:
            spec["schedulingGates"] = kept
        else:
            spec.pop("schedulingGates", None)
        return found if after == found else self._store.put(which, after)

    def _delete(self, which: Id, options: Json) -> Json:
        found = self._found(which)
        _check_uid(which, found, options.get("preconditions", {}).get("uid"))
        if which.resource == "pods":
            delete_pod(self._store, which, found, options.get("gracePeriodSeconds"))
        elif options.get("propagationPolicy") == "Foreground":
            if "deletionTimestamp" not in found["metadata"]:
                found["metadata"]["deletionTimestamp"] = self._store.now()
                found["metadata"]["finalizers"] = ["foregroundDeletion"]
                self._store.touch(which)
        else:
            self._store.remove(which)
        return {"kind": "Status", "status": "Success"}


def delete_pod(store: Store, which: Id, pod: Json, grace: int | None = None) -> None:
    """Its kubelet ends it within its grace; one without a kubelet has none.

    Its grace can be shortened later. It stays while somebody's finalizer is on it.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    seconds = spec.get("terminationGracePeriodSeconds", 30) if grace is None else grace
    if not spec.get("nodeName") or pod["status"]["phase"] in _ENDED:
        seconds = 0
    if "deletionTimestamp" in metadata and seconds >= metadata["deletionGracePeriodSeconds"]:
        return
    metadata["deletionTimestamp"] = store.now(seconds)
    metadata["deletionGracePeriodSeconds"] = seconds
    if seconds == 0 and not metadata.get("finalizers"):
        store.remove(which)
    else:
        store.touch(which)


@cache
def _schema() -> Json:
    found: Json = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def _check(which: Id, body: Json) -> None:
    wrong = list(complaints(_schema(), body))
    if wrong:
        message = f'TrainingJob.insitu.dev "{which.name}" is invalid: {"; ".join(wrong)}'
        raise Refused(422, "Invalid", message)


def _check_version(which: Id, found: Json, asked: Json) -> None:
    version = asked.get("metadata", {}).get("resourceVersion")
    if version not in (None, found["metadata"]["resourceVersion"]):
        raise Refused(
            409, "Conflict", f'{which.resource} "{which.name}": the object has been modified'
        )


def _check_uid(which: Id, found: Json, uid: str | None) -> None:
    if uid not in (None, found["metadata"]["uid"]):
        message = f'{which.resource} "{which.name}": the UID in the precondition is another one'
        raise Refused(409, "Conflict", message)


def _merged(body: Json, patch: Mapping[str, Any]) -> None:
    """A JSON merge patch (RFC 7396)."""
    for name, value in patch.items():
        if value is None:
            body.pop(name, None)
        elif isinstance(value, dict):
            inner = body.get(name)
            if not isinstance(inner, dict):
                inner = body[name] = {}
            _merged(inner, value)
        else:
            body[name] = value


def _bare(body: Json) -> Json:
    """As it is in a list."""
    return {key: value for key, value in body.items() if key not in ("kind", "apiVersion")}


def _selected(body: Json, query: Mapping[str, str]) -> bool:
    labels = body["metadata"].get("labels", {})
    for term in _terms(query.get("labelSelector", "")):
        name, unequal, value = term.partition("!=")
        if not unequal:
            name, _, value = term.partition("=")
        if (labels.get(name) == value) == bool(unequal):
            return False
    return all(
        _field(body, name.split(".")) == value
        for name, _, value in (t.partition("=") for t in _terms(query.get("fieldSelector", "")))
    )


def _terms(selector: str) -> Iterable[str]:
    return filter(None, selector.split(","))


def _field(body: Any, path: list[str]) -> Any:
    for name in path:
        body = body.get(name, {}) if isinstance(body, dict) else {}
    return body or ""
