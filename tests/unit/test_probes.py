"""Probes over real connections, and what makes them fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from insitu.errors import ConfigurationError
from insitu_operator.shell.metrics import Metrics
from insitu_operator.shell.probes import Check, routes, serve
from insitu_operator.shell.settings import Address
from insitu_operator.shell.watching.pulse import SILENT_SECONDS, Pulse

ANYWHERE = Address(host="127.0.0.1", port=0)


def get(path: str, *checks: Check, metrics: Metrics | None = None) -> tuple[int, str]:
    async def main() -> tuple[int, str]:
        numbers = metrics or Metrics()
        own = routes(checks, [], lambda: numbers.render({"urgent": 7, "slow": 0}))
        async with (
            serve(own, ANYWHERE) as port,
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return answer.status, await answer.text()

    return asyncio.run(main())


def test_an_operator_without_problems_is_healthy() -> None:
    assert get("/healthz", lambda: None) == (200, "ok\n")


def test_a_problem_fails_the_probe_and_is_told_in_words() -> None:
    status, text = get("/healthz", lambda: None, lambda: "a pass takes since 130 s")
    assert (status, text) == (503, "a pass takes since 130 s\n")


def test_what_makes_it_unhealthy_leaves_it_ready() -> None:
    assert get("/readyz", lambda: "a pass takes since 130 s") == (200, "ok\n")


def test_metrics_show_what_was_counted() -> None:
    metrics = Metrics()
    metrics.request("create", "pods", 409, 0.01)
    metrics.jobs({"Running": 3})
    metrics.jobs({"Complete": 4})
    metrics.leading(True)
    _, text = get("/metrics", metrics=metrics)
    for line in (
        'insitu_api_requests_total{resource="pods",status="409",verb="create"} 1.0',
        'insitu_queue_depth{lane="urgent"} 7.0',
        'insitu_jobs{state="Complete"} 4.0',
        "insitu_leader 1.0",
        "process_resident_memory_bytes ",
    ):
        assert line in text
    assert "Running" not in text


class Time:
    now = 0.0


@asynccontextmanager
async def watched(pulse: Pulse) -> AsyncIterator[tuple[aiohttp.ClientResponse, asyncio.Event]]:
    """A watch, and what makes its server send a line."""
    speak = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await speak.wait()
            speak.clear()
            await response.write(b"{}\n")

    async with (
        serve([web.get("/api/v1/nodes", answer)], ANYWHERE) as port,
        aiohttp.ClientSession(trace_configs=[pulse.trace()]) as session,
        session.get(f"http://127.0.0.1:{port}/api/v1/nodes?watch=true") as response,
    ):
        yield response, speak


def test_a_watch_that_never_began_is_silent() -> None:
    pulse = Pulse(["/api/v1/nodes"], lambda: Time.now)
    Time.now += SILENT_SECONDS + 1
    assert "watch of /api/v1/nodes" in str(pulse.problem())


def test_a_watch_lives_by_its_bytes() -> None:
    async def main() -> None:
        pulse = Pulse(["/api/v1/nodes"], lambda: Time.now)
        async with watched(pulse) as (response, speak):
            for _ in range(3):
                Time.now += SILENT_SECONDS - 1
                speak.set()
                assert await response.content.readline() == b"{}\n"
                assert pulse.problem() is None
            Time.now += SILENT_SECONDS + 1
            assert pulse.problem() is not None

    asyncio.run(main())


def test_a_watch_that_begins_anew_lives() -> None:
    async def main() -> None:
        pulse = Pulse(["/api/v1/nodes"], lambda: Time.now)
        async with watched(pulse):
            Time.now += SILENT_SECONDS + 1
            assert pulse.problem() is not None
        async with watched(pulse):
            assert pulse.problem() is None

    asyncio.run(main())


def test_an_address_that_is_taken_is_refused() -> None:
    async def main() -> None:
        async with serve([], ANYWHERE) as port:
            with pytest.raises(ConfigurationError, match=str(port)):
                async with serve([], Address(host="127.0.0.1", port=port)):
                    """Not reached."""

    asyncio.run(main())


def left_after(sent: bytes, connections: int = 1, *, most: int = 2000) -> list[bytes]:
    """What each connection that has sent `sent` is answered until it is closed."""

    async def main() -> list[bytes]:
        own = routes([], [], lambda: b"")
        async with serve(own, ANYWHERE, idle_seconds=0.2, most=most) as port:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
            for _, writer in opened:
                writer.write(sent)
            answers = [await reader.read() for reader, _ in opened]
            for _, writer in opened:
                writer.close()
            return answers

    return asyncio.run(main())


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nHost: it\r\n"])
def test_a_request_that_never_ends_does_not_hold_its_connection(sent: bytes) -> None:
    assert left_after(sent, 20) == [b""] * 20


def test_a_connection_that_was_used_is_closed_once_it_is_idle() -> None:
    (answer,) = left_after(b"GET /healthz HTTP/1.1\r\nHost: it\r\n\r\n")
    assert answer.endswith(b"ok\n")
