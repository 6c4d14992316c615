"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from insitu.errors import ConfigurationError
from insitu_operator.shell.metrics import CONTENT_TYPE
from insitu_operator.shell.settings import Address

#: Says in words what is wrong, None while nothing is.
Check = Callable[[], str | None]

#: What a middleware of aiohttp passes a request on to.
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LONGEST_EXIT_SECONDS = 0.2
_IDLE_SECONDS = 10.0
"""A request is short, and whoever posts again in a while may connect again."""

_MOST = 2000
"""Idle connections at once; each takes some kilobytes and a descriptor."""


def routes(
    health: Iterable[Check], ready: Iterable[Check], numbers: Callable[[], bytes]
) -> list[web.RouteDef]:
    """Args:
    health: Any problem means that the container has to start again.
    ready: Any problem means that nobody should be sent here.
    numbers: What `/metrics` shows, in the format of Prometheus.
    """

    def answer(checks: Iterable[Check]) -> web.Response:
        problems = [problem for check in checks if (problem := check()) is not None]
        text = "\n".join(problems) or "ok"
        return web.Response(text=f"{text}\n", status=503 if problems else 200)

    health, ready = tuple(health), tuple(ready)

    async def healthz(_request: web.Request) -> web.Response:
        return answer(health)

    async def readyz(_request: web.Request) -> web.Response:
        return answer(ready)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=numbers(), headers={"Content-Type": CONTENT_TYPE})

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/metrics", metrics),
    ]


class _Connections:
    """Which connections have been without a whole request for how long."""

    def __init__(self, clock: Callable[[], float], idle_seconds: float, most: int) -> None:
        self._clock = clock
        self._idle = idle_seconds
        self._most = most
        self._since: dict[asyncio.BaseTransport, float] = {}
        self._busy: Counter[asyncio.BaseTransport] = Counter()
        self._next: asyncio.TimerHandle | None = None

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Notes that the connection of a request is in use."""
        transport = request.transport
        if transport is None:
            return await handler(request)
        self._busy[transport] += 1
        try:
            return await handler(request)
        finally:
            del self._busy[transport]
            self._since[transport] = self._clock()

    def sweep_again(self, server: web.Server) -> None:
        """Closes those that were idle for too long, now and from then on."""
        now = self._clock()
        there = {c.transport for c in server.connections if c.transport is not None}
        self._since = {t: self._since.get(t, now) for t in there}
        idle = sorted((t for t in there if t not in self._busy), key=self._since.__getitem__)
        for number, transport in enumerate(idle):
            if len(idle) - number > self._most or now - self._since[transport] > self._idle:
                transport.close()
        every = min(1.0, self._idle / 2)
        self._next = asyncio.get_running_loop().call_later(every, self.sweep_again, server)

    def end(self) -> None:
        """Sweeps no more."""
        if self._next:
            self._next.cancel()


@asynccontextmanager
async def serve(
    routes: Iterable[web.AbstractRouteDef],
    address: Address,
    *,
    idle_seconds: float = _IDLE_SECONDS,
    most: int = _MOST,
) -> AsyncIterator[int]:
    """Serves while the context is open; yields the port, which matters when it was 0.

    A connection that has asked for nothing for `idle_seconds` is closed, also when the beginning of
    a request has come; of those, no more than `most` are kept, and the oldest go first.

    Raises:
        ConfigurationError: the address is taken, or not this machine's.
    """
    connections = _Connections(asyncio.get_running_loop().time, idle_seconds, most)
    application = web.Application(middlewares=[connections.count])
    application.add_routes(list(routes))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_LONGEST_EXIT_SECONDS)
    await runner.setup()
    assert runner.server is not None
    connections.sweep_again(runner.server)
    try:
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as problem:
            where = f"{address.host}:{address.port}"
            raise ConfigurationError(f"can't listen on {where}: {problem.strerror}") from problem
        yield int(runner.addresses[0][1])
    finally:
        connections.end()
        await runner.cleanup()
