"""/healthz, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from insitu.errors import ConfigurationError
from insitu_operator.shell.metrics import CONTENT_TYPE
from insitu_operator.shell.settings import Address

#: Says in words what is wrong, None while nothing is.
Check = Callable[[], str | None]

_LONGEST_EXIT_SECONDS = 0.2


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


@asynccontextmanager
async def serve(routes: Iterable[web.AbstractRouteDef], address: Address) -> AsyncIterator[int]:
    """Serves while the context is open; yields the port, which matters when it was 0.

    Raises:
        ConfigurationError: the address is taken, or not this machine's.
    """
    application = web.Application()
    application.add_routes(list(routes))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_LONGEST_EXIT_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as problem:
            where = f"{address.host}:{address.port}"
            raise ConfigurationError(f"can't listen on {where}: {problem.strerror}") from problem
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
