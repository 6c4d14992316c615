"""What happens in the cluster, as kopf hears it; nothing is decided here.

Of kopf only the lowest layer is used, raw events. Its handlers for changes, its index, its timers
and its finalizers would each write to, or remember, every object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, cast

import aiohttp
import kopf

from insitu.api import GROUP, VERSION
from insitu.errors import InsituError
from insitu_operator.core.objects.names import OTHERS, OURS
from insitu_operator.kubernetes import Json, paths
from insitu_operator.shell.metrics import Metrics
from insitu_operator.shell.watching.pulse import INACTIVITY_SECONDS, Pulse

_END_SECONDS = 0.5
_TLS_END_SECONDS = 0.1


class WatchesEnded(InsituError):
    """Nothing is heard any more: this process has to start again."""


class Sight(Protocol):
    """Takes in what happened to an object. `kind`: ADDED, MODIFIED, DELETED, or None when it was
    only found in a list. Each method returns at once.
    """

    def training_job(self, kind: str | None, body: Json) -> None: ...

    def pod(self, kind: str | None, body: Json) -> None:
        """One that is labelled as managed by Insitu."""

    def node(self, kind: str | None, body: Json) -> None: ...

    def endpoint_slice(self, kind: str | None, body: Json) -> None: ...


def watched_paths(namespaces: Sequence[str]) -> list[str]:
    """The collections that `watch` reads."""
    spaces = namespaces or (None,)
    kinds = (paths.training_jobs, paths.pods, paths.endpoint_slices)
    return [paths.nodes(), *(kind(space) for kind in kinds for space in spaces)]


async def watch(
    sight: Sight,
    namespaces: Sequence[str],
    pulse: Pulse,
    metrics: Metrics,
    ready: asyncio.Event,
    inactivity_seconds: float = INACTIVITY_SECONDS,
) -> None:
    """Tells `sight` everything, until it is cancelled or a watch can't go on.

    In the main thread kopf takes SIGTERM and SIGINT for itself, and returns when one comes;
    `ready` is set after that, so that whoever waits for it can take them back.

    Args:
        sight: Who hears it.
        namespaces: Whose objects, besides nodes; empty for all.
        pulse: Of `watched_paths`.
        metrics: Counts events.
        ready: Set when kopf has started.
        inactivity_seconds: A watch that brings nothing for so long begins anew, from where it was.

    Raises:
        WatchesEnded: one of them met what it can't get over.
    """
    registry = _registry(sight, pulse, metrics)
    ending = asyncio.Event()

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        ending.set()

    # Older than kopf, which waits for tasks that are younger than itself.
    ended = asyncio.create_task(ending.wait(), name="kopf ends")
    await asyncio.sleep(0)
    running = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=_settings(inactivity_seconds),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            ready_flag=ready,
        ),
        name="kopf",
    )
    try:
        await asyncio.wait([running, ended], return_when=asyncio.FIRST_COMPLETED)
        # When one watch fails, kopf lets the others try to go on without a session, for minutes.
        await asyncio.wait([running], timeout=_END_SECONDS)
        if not running.done():
            raise WatchesEnded("a watch failed; the log says which")
        if (error := running.exception()) is not None:
            raise WatchesEnded(str(error)) from error
    finally:
        ended.cancel()
        running.cancel()
        await asyncio.wait([running], timeout=_END_SECONDS)
        # As aiohttp advises: TLS connections that are closed need a moment to be gone.
        await asyncio.sleep(_TLS_END_SECONDS)


def _registry(sight: Sight, pulse: Pulse, metrics: Metrics) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**arguments: Any) -> kopf.AiohttpSession | None:
        # The same files that `kubernetes.connect` reads; again when a token has run out.
        found = kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(
            **arguments
        )
        if found is None:
            return None
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context()),
            headers=found.as_http_headers(),
            trace_configs=[pulse.trace()],
        )
        return kopf.AiohttpSession(server=found.server, aiohttp_session=session)

    @kopf.on.event(GROUP, VERSION, paths.TRAINING_JOBS, registry=registry)
    async def training_job(event: kopf.RawEvent, **_: Any) -> None:
        metrics.event("trainingjobs")
        sight.training_job(event["type"], _body(event))

    @kopf.on.event("v1", "pods", registry=registry)
    async def pod(event: kopf.RawEvent, **_: Any) -> None:
        metrics.event("pods")
        sight.pod(event["type"], _body(event))

    @kopf.on.event("v1", "nodes", registry=registry)
    async def node(event: kopf.RawEvent, **_: Any) -> None:
        metrics.event("nodes")
        sight.node(event["type"], _body(event))

    @kopf.on.event("discovery.k8s.io", "v1", "endpointslices", registry=registry)
    async def endpoint_slice(event: kopf.RawEvent, **_: Any) -> None:
        metrics.event("endpointslices")
        sight.endpoint_slice(event["type"], _body(event))

    return registry


def _body(event: kopf.RawEvent) -> Json:
    return dict(event["object"])


class _NoComparison(kopf.DiffBaseStorage):
    """Nobody asks what changed in an object: the default would copy each one deeply to know."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None: ...


def _settings(inactivity_seconds: float) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # Neither CustomResourceDefinitions nor namespaces are looked for: fewer rights.
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.label_selectors["v1", "pods"] = OURS
    settings.watching.label_selectors["discovery.k8s.io", "endpointslices"] = OTHERS
    settings.watching.chunk_size = 500
    settings.watching.inactivity_timeout = inactivity_seconds
    # Nobody hears of a new job meanwhile.
    settings.watching.reconnect_backoff = 0.2
    settings.watching.connect_timeout = 5.0
    settings.networking.request_timeout = 30.0
    # An API server that comes back is noticed in two seconds; the default ends at 21.
    settings.networking.error_backoffs = [0.5, 1.0] + [2.0] * 100
    settings.persistence.diffbase_storage = _NoComparison()
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 1.0
    # When it ends, kopf would kill this process some time later, whatever else runs here.
    settings.process.ultimate_exiting_timeout = None
    return settings
