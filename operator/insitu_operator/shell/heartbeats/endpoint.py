"""Where trainers post their heartbeats: `POST /v1/heartbeat`, with a token of their pod."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from insitu.errors import AuthenticationError, InsituError
from insitu.progress import Heartbeat, received
from insitu_operator.shell.heartbeats.heartbeats import Heartbeats, Trainer
from insitu_operator.shell.heartbeats.tokens import Bearer, Tokens

PATH = "/v1/heartbeat"

_LARGEST_BODY = 256 << 10
_LARGEST_TOKEN = 16 << 10
_READ_SECONDS = 5.0


class HeartbeatEndpoint:
    """Takes a heartbeat of a pod only about the rank that this pod is.

    Every refusal says in a sentence why; trainers write it to their log, and go on.

    Args:
        heartbeats: Where they are kept.
        tokens: Knows the pod of a token.
        trainer: By the uid of a pod that exists and whose job exists; None for any other.
        leading: Whether this process leads, and has seen what there is.
        count: Hears how each post ended: `accepted`, or one word why not.
        now: Seconds since the epoch of 1970.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        tokens: Tokens,
        trainer: Callable[[str], Trainer | None],
        leading: Callable[[], bool],
        count: Callable[[str], None] = lambda _outcome: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._heartbeats = heartbeats
        self._tokens = tokens
        self._trainer = trainer
        self._leading = leading
        self._count = count
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        """For the application that serves them."""
        return [web.post(PATH, self._post)]

    async def _post(self, request: web.Request) -> web.Response:
        try:
            reply = await self._take(request)
        except _Refused as refused:
            self._count(refused.outcome)
            headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else None
            return web.Response(status=refused.status, text=f"{refused}\n", headers=headers)
        self._count("accepted")
        return reply

    async def _take(self, request: web.Request) -> web.Response:
        if not self._leading():
            raise _Refused(503, "standby", "this replica of the operator does not lead (yet)")
        bearer = await self._bearer(request)
        trainer = self._trainer(bearer.pod_uid)
        if trainer is None or trainer.key.namespace != bearer.namespace:
            raise _stranger(bearer)
        body = await _body(request)
        try:
            heartbeat = received(body, self._now())
        except ValueError as problem:
            said = f"the body is no heartbeat: {problem}"
            raise _Refused(400, "unreadable", said) from None
        mine = (trainer.key.name, trainer.generation, trainer.rank)
        if (heartbeat.job, heartbeat.generation, heartbeat.rank) != mine:
            raise _Refused(403, "another", _mismatch(bearer, trainer, heartbeat))
        reply = self._heartbeats.take(trainer, heartbeat)
        return web.Response(text=reply.model_dump_json(), content_type="application/json")

    async def _bearer(self, request: web.Request) -> Bearer:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > _LARGEST_TOKEN:
            raise _Refused(401, "unknown", "show a token: `Authorization: Bearer ...`")
        try:
            claimed = self._tokens.claimed(token)
            # The API server is asked only about pods that could be trainers.
            if self._trainer(claimed.pod_uid) is None:
                raise _stranger(claimed)
            return await self._tokens.bearer(token)
        except AuthenticationError as problem:
            raise _Refused(401, "unknown", str(problem)) from problem
        except InsituError as problem:
            raise _Refused(503, "unreviewed", f"the token is not reviewed: {problem}") from problem


class _Refused(Exception):
    def __init__(self, status: int, outcome: str, words: str) -> None:
        self.status = status
        self.outcome = outcome
        super().__init__(words)


def _stranger(bearer: Bearer) -> _Refused:
    who = f"pod {bearer.namespace}/{bearer.pod}"
    return _Refused(403, "stranger", f"{who} is no trainer of a job here")


async def _body(request: web.Request) -> bytes:
    """All of it; a longer one is not read to its end."""
    body = bytearray()
    try:
        async with asyncio.timeout(_READ_SECONDS):
            async for chunk in request.content.iter_chunked(1 << 14):
                body += chunk
                if len(body) > _LARGEST_BODY:
                    most = f"a heartbeat has at most {_LARGEST_BODY:,} bytes"
                    raise _Refused(413, "too_large", most)
    except TimeoutError:
        late = f"the body did not arrive within {_READ_SECONDS:.0f} s"
        raise _Refused(408, "too_slow", late) from None
    return bytes(body)


def _mismatch(bearer: Bearer, trainer: Trainer, heartbeat: Heartbeat) -> str:
    return (
        f"pod {bearer.pod} is rank {trainer.rank} of generation {trainer.generation} of "
        f"{trainer.key.name}, and may not speak for rank {heartbeat.rank} of generation "
        f"{heartbeat.generation} of {heartbeat.job}"
    )
