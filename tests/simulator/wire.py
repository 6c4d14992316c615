"""What lies between an operator's process and the API server: where faults happen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.simulator.plans import Fault, Kind
from tests.simulator.server import Refused, Request, Server
from tests.simulator.store import Json, Store

ROUND_TRIP = 0.004
"""Seconds."""

STALE_SECONDS = 3.0
"""How long lists come late, and as late as this."""

_REFUSALS = {
    Kind.CONFLICT: (409, "Conflict", "somebody changed the object"),
    Kind.INVALID: (422, "Invalid", "a rule of this cluster refuses it"),
    Kind.BUSY: (429, "TooManyRequests", "too many requests"),
    Kind.BROKEN: (500, "InternalError", "etcdserver: leader changed"),
    Kind.FORBIDDEN: (403, "Forbidden", 'User "insitu" cannot do that'),
}
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass
class Traffic:
    """All writes of all processes of an operator, and what goes wrong with them."""

    faults: Mapping[int, Kind] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    last_write: float = 0.0
    refused: list[str] = field(default_factory=list)
    """What the API server found invalid by itself."""

    @classmethod
    def through(cls, faults: tuple[Fault, ...]) -> Traffic:
        return cls({fault.write: fault.kind for fault in faults})


class Answer:
    """Of aiohttp, as much of it as is asked for."""

    def __init__(self, status: int, body: Json) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}
        self._raw = json.dumps(body).encode()

    async def read(self) -> bytes:
        return self._raw


class Wire:
    """In place of the client library's `ApiClient`, of one process.

    Args:
        server: Answers.
        store: Of the server.
        traffic: Counts writes.
        crash: Ends the process.
        watches: Hears of LATE and DOUBLED.
    """

    def __init__(
        self,
        server: Server,
        store: Store,
        traffic: Traffic,
        crash: Callable[[], None],
        watches: Callable[[Kind], None],
    ) -> None:
        self._server = server
        self._store = store
        self._traffic = traffic
        self._crash = crash
        self._watches = watches
        self._dead = False
        self._stale_until = float("-inf")

    def cut(self) -> None:
        """The process is dead: nothing comes of what it still asks."""
        self._dead = True

    async def param_serialize(
        self,
        *,
        method: str,
        resource_path: str,
        query_params: list[tuple[str, str]],
        body: Json | None,
        header_params: Mapping[str, str],
        **_others: object,
    ) -> tuple[str, str, Mapping[str, str], Json | None, list[tuple[str, str]]]:
        return method, resource_path, header_params, body, query_params

    async def call_api(
        self,
        method: str,
        url: str,
        header: Mapping[str, str],
        body: Json | None,
        query: list[tuple[str, str]],
        *,
        _request_timeout: aiohttp.ClientTimeout,
    ) -> Answer:
        request = _request(method, url, dict(query), body or {}, header["Content-Type"])
        await self._travel()
        answer = await self._write(request) if request.writes else self._answer(request)
        if request.verb == "list" and self._store.seconds < self._stale_until:
            await asyncio.sleep(STALE_SECONDS)
        await self._travel()
        return answer

    async def _travel(self) -> None:
        await asyncio.sleep(ROUND_TRIP / 2)
        if self._dead:
            await _for_ever()

    async def _write(self, request: Request) -> Answer:
        traffic = self._traffic
        kind = traffic.faults.get(len(traffic.writes))
        traffic.writes.append(str(request))
        traffic.last_write = self._store.seconds
        if kind is Kind.CRASH_BEFORE:
            await self._die()
        if kind in _REFUSALS:
            return _refusal(*_REFUSALS[kind])
        if kind is Kind.STALE:
            self._stale_until = self._store.seconds + STALE_SECONDS
        if kind in (Kind.LATE, Kind.DOUBLED):
            self._watches(kind)
        answer = self._answer(request)
        if answer.status == 422:
            traffic.refused.append(f"{request} was refused: {await _message(answer)}")
        if kind is Kind.CRASH_AFTER:
            await self._die()
        if kind is Kind.LOST:
            raise aiohttp.ServerDisconnectedError
        return answer

    def _answer(self, request: Request) -> Answer:
        try:
            done = self._server.answer(request)
        except Refused as refused:
            return _refusal(refused.status, refused.reason, refused.message)
        return Answer(201 if request.verb == "create" else 200, done)

    async def _die(self) -> None:
        self._dead = True
        self._crash()
        await _for_ever()


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def _message(answer: Answer) -> str:
    return str(json.loads(await answer.read())["message"])


def _refusal(status: int, reason: str, message: str) -> Answer:
    return Answer(status, {"kind": "Status", "reason": reason, "message": message})


def _request(method: str, path: str, query: Mapping[str, str], body: Json, content: Any) -> Request:
    if method == "GET":
        one = Request("get", path, query, body)
        return one if one.target.name else Request("list", path, query, body)
    return Request(_VERBS[method], path, query, body, content)
