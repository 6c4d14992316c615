"""Posts heartbeats, and hears of a newer generation in the answers."""

from __future__ import annotations

import http.client
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from insitu.errors import ConfigurationError
from insitu.progress import Heartbeat, HeartbeatReply

_SLOWEST_SECONDS = 300.0
_TIMEOUT_SECONDS = 5.0
_LAST_TRIES = 3
_REPLY_BYTES = 64 << 10
_WORDS_BYTES = 1 << 10


class Heart:
    """A thread that posts `heartbeat()` to `url`, as often as the answers ask for.

    A change of the training's state is posted at once all the same. An unreachable URL
    never disturbs the training; `say` hears of it once, and once it is back.

    Args:
        url: Of http or https.
        heartbeat: What to post; called every `every_seconds`, in the thread.
        say: Tells a person.
        token: File with the bearer token to show; read for every post, because it is renewed.
        every_seconds: The pace until an answer asks for a slower one.
    """

    def __init__(
        self,
        url: str,
        heartbeat: Callable[[], Heartbeat],
        *,
        say: Callable[[str], None],
        token: Path | None = None,
        every_seconds: float = 1.0,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ConfigurationError(f"INSITU_HEARTBEAT={url!r} is no http or https address")
        self._url = url
        self._heartbeat = heartbeat
        self._say = say
        self._token = token
        self._reachable = True
        self._look = self._every = every_seconds
        self._stopped = threading.Event()
        # The address is inside the cluster: a proxy of the environment is not for it, and whoever
        # else it might point to is not for the token.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
        self._thread: threading.Thread | None = None

    def start(self, superseded: Callable[[], None]) -> None:
        """`superseded` is called in the thread, once, when an answer names a newer generation."""
        self._thread = threading.Thread(target=self._beat, args=(superseded,), daemon=True)
        self._thread.start()

    def stop(self, last: Heartbeat) -> None:
        """Ends the thread and posts `last`, trying a few times; returns in some seconds."""
        self._stopped.set()
        if self._thread:
            self._thread.join(timeout=_TIMEOUT_SECONDS)
        for _ in range(_LAST_TRIES):
            if self._post(last):
                return
            threading.Event().wait(self._look / 2)

    def _beat(self, superseded: Callable[[], None]) -> None:
        due, told = time.monotonic(), None
        while not self._stopped.is_set():
            heartbeat = self._heartbeat()
            state = heartbeat.progress and heartbeat.progress.state
            if state != told or time.monotonic() >= due:
                reply = self._post(heartbeat)
                told = state if reply else told
                due = time.monotonic() + self._pause()
                if reply and reply.generation > heartbeat.generation:
                    self._say(
                        f"generation {reply.generation} has taken over from "
                        f"{heartbeat.generation}: asking the command to leave"
                    )
                    superseded()
                    return
            self._stopped.wait(min(self._look, max(0.0, due - time.monotonic())))

    def _pause(self) -> float:
        """Seconds to the next heartbeat; uneven, so that thousands that start together spread."""
        if self._every <= self._look:
            return self._look
        return self._every * random.uniform(0.75, 1.25)

    def _post(self, heartbeat: Heartbeat) -> HeartbeatReply | None:
        try:
            request = urllib.request.Request(  # noqa: S310 - the scheme was checked
                self._url,
                data=heartbeat.model_dump_json().encode(),
                headers={"Content-Type": "application/json"} | self._authorization(),
                method="POST",
            )
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                reply = HeartbeatReply.model_validate_json(answer.read(_REPLY_BYTES))
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._reachable:
                self._say(f"heartbeats to {self._url} fail ({_words(error)}); the command goes on")
            self._reachable = False
            return None
        if not self._reachable:
            self._say(f"heartbeats to {self._url} arrive again")
        self._reachable = True
        # In this order an answer of NaN is the usual pace.
        self._every = min(_SLOWEST_SECONDS, max(self._look, reply.every_seconds))
        return reply

    def _authorization(self) -> dict[str, str]:
        if self._token is None:
            return {}
        token = self._token.read_text(encoding="ascii").strip()
        if not token or not token.isprintable():  # The library would quote it in its complaint.
            raise ValueError(f"{self._token} holds no token")
        return {"Authorization": f"Bearer {token}"}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An answer that points elsewhere is an error like any other."""

    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: http.client.HTTPMessage | Message,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        return None


def _words(error: Exception) -> str:
    """What the other side said, if it said anything."""
    if not isinstance(error, urllib.error.HTTPError):
        return str(error)
    with error:
        try:
            said = error.read(_WORDS_BYTES).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            said = ""
    return f"{error.code} {' '.join(said.split()) or error.reason}"
