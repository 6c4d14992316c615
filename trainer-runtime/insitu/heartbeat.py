"""Posts heartbeats, and hears of a newer generation in the answers."""

from __future__ import annotations

import http.client
import threading
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from pydantic import ValidationError

from insitu.errors import ConfigurationError
from insitu.progress import Heartbeat, HeartbeatReply

_EVERY_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0
_LAST_TRIES = 3
_REPLY_BYTES = 64 << 10


class Heart:
    """A thread that posts `heartbeat()` to `url` every second.

    An unreachable URL never disturbs the training; `say` hears of it once, and once it is back.
    """

    def __init__(
        self, url: str, heartbeat: Callable[[], Heartbeat], *, say: Callable[[str], None]
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ConfigurationError(f"INSITU_HEARTBEAT={url!r} is no http or https address")
        self._url = url
        self._heartbeat = heartbeat
        self._say = say
        self._reachable = True
        self._stopped = threading.Event()
        # The address is inside the cluster: a proxy of the environment is not for it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
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
            threading.Event().wait(_EVERY_SECONDS / 2)

    def _beat(self, superseded: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            heartbeat = self._heartbeat()
            reply = self._post(heartbeat)
            if reply and reply.generation > heartbeat.generation:
                self._say(
                    f"generation {reply.generation} has taken over from {heartbeat.generation}: "
                    "asking the command to leave"
                )
                superseded()
                return
            self._stopped.wait(_EVERY_SECONDS)

    def _post(self, heartbeat: Heartbeat) -> HeartbeatReply | None:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url,
            data=heartbeat.model_dump_json().encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                reply = HeartbeatReply.model_validate_json(answer.read(_REPLY_BYTES))
        except (OSError, http.client.HTTPException, ValidationError) as error:
            if self._reachable:
                self._say(f"heartbeats to {self._url} fail ({error}); the command goes on")
            self._reachable = False
            return None
        if not self._reachable:
            self._say(f"heartbeats to {self._url} arrive again")
        self._reachable = True
        return reply
