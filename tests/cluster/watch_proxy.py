"""Between a client and the API server: cuts watches in every way there is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web


class WatchProxy:
    """Of `proxy`. Its methods are called from any thread but its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> None:
        self._loop, self._session = loop, session
        self._watches: dict[web.StreamResponse, web.Request] = {}
        self._silent: set[web.StreamResponse] = set()
        self._began = asyncio.Event()
        self.ended = asyncio.Event()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self.ended.set)

    def until_watched(self, plural: str) -> None:
        async def watched() -> None:
            while not self._of(plural):
                self._began.clear()
                await self._began.wait()

        self._do(watched())

    def error(self, plural: str, code: int) -> None:
        """The API server says inside of the stream that it can't go on."""
        status = {"kind": "Status", "status": "Failure", "code": code, "message": "cut by a test"}
        line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"

        async def say() -> None:
            for watch in self._of(plural):
                self._silent.add(watch)
                await watch.write(line)

        self._do(say())

    def gone(self, plural: str) -> None:
        """The version the watch began at is forgotten."""
        self.error(plural, 410)

    def closed(self, plural: str) -> None:
        """The stream ends."""

        async def close() -> None:
            for watch in self._of(plural):
                self._silent.add(watch)
                await watch.write_eof()

        self._do(close())

    def silent(self, plural: str) -> None:
        """The connection stays, and nothing comes any more."""

        async def hush() -> None:
            self._silent |= set(self._of(plural))

        self._do(hush())

    async def answer(self, request: web.Request) -> web.StreamResponse:
        async with self._session.request(
            request.method,
            request.rel_url,
            data=await request.read(),
            headers={"Content-Type": request.headers.get("Content-Type", "application/json")},
            timeout=aiohttp.ClientTimeout(total=None),
        ) as found:
            if "watch" not in request.query or found.status != 200:
                return web.Response(
                    body=await found.read(), status=found.status, content_type=found.content_type
                )
            watch = web.StreamResponse()
            await watch.prepare(request)
            self._watches[watch] = request
            self._began.set()
            try:
                async for line in found.content:
                    if watch in self._silent:
                        await asyncio.Event().wait()  # Until the client has had enough.
                    await watch.write(line)
            except ConnectionError:
                """It has."""
            finally:
                del self._watches[watch]
                self._silent.discard(watch)
            return watch

    def _of(self, plural: str) -> list[web.StreamResponse]:
        return [
            watch
            for watch, request in self._watches.items()
            if request.path.endswith(f"/{plural}")
            and request.transport is not None  # Its client has gone, and it does not know yet.
        ]

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@contextlib.contextmanager
def proxy(administrator: Path, kubeconfig: Path) -> Iterator[WatchProxy]:
    """Runs in a thread until the block ends: kopf ends whatever else is in its own event loop.

    Args:
        administrator: Leads to the API server; whoever comes through the proxy is this user.
        kubeconfig: A new file, which leads to the proxy.
    """
    document = yaml.safe_load(administrator.read_text())
    cluster, pki = document["clusters"][0]["cluster"], administrator.parent
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    started: Future[tuple[WatchProxy, int]] = Future()
    serve = _serve(cluster["server"], context, started)
    thread = threading.Thread(target=asyncio.run, args=(serve,))
    thread.start()
    served, port = started.result(30)
    document["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
    document["users"][0]["user"] = {"token": "of-nobody"}
    kubeconfig.write_text(yaml.safe_dump(document))
    try:
        yield served
    finally:
        served.end()
        thread.join()


async def _serve(
    server: str, context: ssl.SSLContext, started: Future[tuple[WatchProxy, int]]
) -> None:
    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    async with aiohttp.ClientSession(server, connector=connector) as session:
        served = WatchProxy(asyncio.get_running_loop(), session)
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", served.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        started.set_result((served, runner.addresses[0][1]))
        await served.ended.wait()
        await runner.cleanup()
