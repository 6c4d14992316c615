"""Six verbs on raw JSON.

Objects stay dicts: the models of the client library take five times the time and memory to list.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from insitu.errors import ConfigurationError
from insitu_operator.core.objects.names import FIELD_MANAGER
from insitu_operator.kubernetes.errors import FENCED, ApiProblem
from insitu_operator.kubernetes.paths import Target, target

Json = dict[str, Any]
Objects = list[Json]
Query = list[tuple[str, str]]
#: Hears of each request: verb, resource, HTTP status (0: no answer), seconds.
Observe = Callable[[str, str, int, float], None]

REQUEST_SECONDS = 15.0
PAGE = 500
FIRST_PAGE = 100
PAGE_BYTES = 2 << 20
"""A page is read in one go, which nothing else can interrupt: 2 MiB take about 20 ms. The first one
shows how large objects are, and the others are as long as that allows.
"""

_CONNECTIONS = 32
"""Each takes a quarter of a megabyte, and more than two dozen requests at once help nobody."""
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
_METHODS = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}
_READS = ("get", "list")


class Api:
    """The API server, to one operator. Every method raises ApiProblem and nothing else.

    Args:
        session: Of `connect`.
        observe: Hears of each request that was sent.
        may_write: Asked before each write; when it says no, nothing is sent.
        seconds: After which a request counts as unanswered.
    """

    def __init__(
        self,
        session: client.ApiClient,
        observe: Observe,
        may_write: Callable[[], bool] = lambda: True,
        seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._session = session
        self._observe = observe
        self._may_write = may_write
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._seconds = seconds

    def fenced(self, may_write: Callable[[], bool]) -> Api:
        """The same API server, to one who writes only while `may_write` says so."""
        return Api(self._session, self._observe, may_write, self._seconds)

    def within(self, seconds: float) -> Api:
        """The same API server, to one who does not wait as long for an answer."""
        return Api(self._session, self._observe, self._may_write, seconds)

    async def get(self, path: str) -> Json:
        return await self._send("get", path)

    async def list(
        self, path: str, *, labels: Mapping[str, str] | str = "", fields: str = ""
    ) -> Objects:
        """All objects, read in pages. Those of a list carry no `kind` and no `apiVersion`."""
        query = _selectors(labels, fields)
        try:
            return await self._pages(path, query, FIRST_PAGE)
        except ApiProblem as problem:
            if problem.status != 410:
                raise
        # The pages were read too slowly: their common version is forgotten. A list in one piece
        # can't expire.
        return await self._pages(path, query, None)

    async def create(self, path: str, body: Json) -> Json:
        return await self._send("create", path, body)

    async def replace(self, path: str, body: Json) -> Json:
        """Give the `resourceVersion` that was read, so that nobody else's change is lost."""
        return await self._send("update", path, body)

    async def merge(self, path: str, body: Json) -> Json:
        """A JSON merge patch: lists are replaced whole, None removes a field."""
        return await self._send("patch", path, body, content=_MERGE)

    async def strategic(self, path: str, body: Json) -> Json:
        """A strategic merge patch. Custom resources have none."""
        return await self._send("patch", path, body, content=_STRATEGIC)

    async def delete(
        self,
        path: str,
        *,
        uid: str | None = None,
        grace_seconds: int | None = None,
        propagation: str = "Background",
    ) -> None:
        """Args:
        path: Of one object.
        uid: When another object has the name by now, nothing is deleted (`conflict`).
        grace_seconds: Instead of the pod's own.
        propagation: What becomes of the objects it owns.
        """
        options = _delete_options(grace_seconds, propagation)
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        await self._send("delete", path, options)

    async def delete_all(
        self, path: str, *, labels: Mapping[str, str] | str, grace_seconds: int | None = None
    ) -> None:
        """Of a collection, those with these labels."""
        query = _selectors(labels, "")
        if not query:
            raise ValueError("everything there is would be deleted: give labels")
        options = _delete_options(grace_seconds, "Background")
        await self._send("deletecollection", path, options, query=query)

    async def _pages(self, path: str, query: Query, limit: int | None) -> Objects:
        items: Objects = []
        more = ""
        while True:
            asked = [*query]
            if limit:
                asked.append(("limit", str(limit)))
            if more:
                asked.append(("continue", more))
            answer = await self._ask("list", path, query=asked)
            page = _read(*answer)
            items += page["items"]
            more = page.get("metadata", {}).get("continue", "")
            if not more:
                return items
            if limit:
                limit = page_size(len(page["items"]), len(answer[-1]))

    async def _send(
        self,
        verb: str,
        path: str,
        body: Json | None = None,
        *,
        content: str = _JSON,
        query: Query | None = None,
    ) -> Json:
        return _read(*await self._ask(verb, path, body, content=content, query=query))

    async def _ask(
        self,
        verb: str,
        path: str,
        body: Json | None = None,
        *,
        content: str = _JSON,
        query: Query | None = None,
    ) -> tuple[str, Target, int, Mapping[str, str], bytes]:
        """What `_read` reads."""
        about = target(path)
        query = [*(query or ())]
        if verb not in _READS:
            if not self._may_write():
                raise ApiProblem(verb, about, 0, FENCED, "this process does not lead any more")
            if not verb.startswith("delete"):
                query.append(("fieldManager", FIELD_MANAGER))
        began = time.monotonic()
        status = 0
        try:
            status, headers, raw = await self._exchange(verb, path, query, body, content)
        except TimeoutError as late:
            seconds = self._seconds
            raise ApiProblem(verb, about, 0, "Timeout", f"waited {seconds:g} s") from late
        except (aiohttp.ClientError, OSError) as failed:
            message = str(failed) or type(failed).__name__
            raise ApiProblem(verb, about, 0, "Unreachable", message) from failed
        finally:
            self._observe(verb, about.resource, status, time.monotonic() - began)
        return verb, about, status, headers, raw

    async def _exchange(
        self,
        verb: str,
        path: str,
        query: Query,
        body: Json | None,
        content: str,
    ) -> tuple[int, Mapping[str, str], bytes]:
        session = self._session
        method, url, header, data, form = await session.param_serialize(
            method=_METHODS[verb],
            resource_path=path,
            query_params=query,
            body=body,
            header_params={"Accept": _JSON, "Content-Type": content},
            auth_settings=["BearerToken"],
        )
        answer = await session.call_api(
            method, url, header, data, form, _request_timeout=self._timeout
        )
        raw = await answer.read()  # type: ignore[no-untyped-call]
        return answer.status, answer.headers, raw


def page_size(objects: int, size: int) -> int:
    """How many objects the next page should have, after one of `objects` in `size` bytes."""
    return max(1, min(PAGE, objects * PAGE_BYTES // max(1, size)))


def in_pod() -> bool:
    """Whether this process has a service account's token."""
    return _SERVICE_ACCOUNT.exists()


@asynccontextmanager
async def connect(
    observe: Observe = lambda *_: None, kubeconfig: Path | None = None
) -> AsyncIterator[Api]:
    """As the service account of this pod, whose token is read again as it rotates; outside of a
    pod as the file in `KUBECONFIG` says.

    Args:
        observe: Hears of each request.
        kubeconfig: Instead of both.

    Raises:
        ConfigurationError: there is neither, or it can't be read.
    """
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = _CONNECTIONS
    try:
        if kubeconfig is None and in_pod():
            config.load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
        else:
            file = kubeconfig or os.environ.get("KUBECONFIG") or config.KUBE_CONFIG_DEFAULT_LOCATION
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(file), client_configuration=configuration, persist_config=False
            )
    except config.ConfigException as wrong:
        raise ConfigurationError(
            f"no API server: this is no pod with a service account, and KUBECONFIG: {wrong}"
        ) from wrong
    async with client.ApiClient(configuration) as session:
        session.user_agent = FIELD_MANAGER
        yield Api(session, observe)


def _read(verb: str, about: Target, status: int, headers: Mapping[str, str], raw: bytes) -> Json:
    try:
        document = json.loads(raw)
    except ValueError:
        document = {"message": raw[:200].decode(errors="replace").strip()}
        if status < 400:
            raise ApiProblem(verb, about, 0, "Unreadable", "its answer is no JSON") from None
    if status >= 400:
        after = headers.get("Retry-After", "")
        raise ApiProblem(
            verb,
            about,
            status,
            str(document.get("reason", "")),
            str(document.get("message", "")),
            float(after) if after.isdecimal() else None,
        )
    for one in document.get("items", [document]):
        # Who wrote which field is longer than the rest of an object, and nobody here asks.
        one.get("metadata", {}).pop("managedFields", None)
    read: Json = document
    return read


def _selectors(labels: Mapping[str, str] | str, fields: str) -> Query:
    if not isinstance(labels, str):
        labels = ",".join(f"{name}={value}" for name, value in labels.items())
    chosen = [("labelSelector", labels), ("fieldSelector", fields)]
    return [(name, value) for name, value in chosen if value]


def _delete_options(grace_seconds: int | None, propagation: str) -> Json:
    options: Json = {"propagationPolicy": propagation}
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    return options
