"""Whether watches still bring bytes.

An idle watch brings a bookmark about every minute, and kopf begins a silent one anew. So a watch
without a byte and without a new beginning for much longer is one that nobody reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

INACTIVITY_SECONDS = 70.0
"""Bookmarks come every minute, and what is missed is kept by the API server for 75 seconds."""

SILENT_SECONDS = 3 * INACTIVITY_SECONDS


@dataclass(slots=True)
class _Stream:
    content: aiohttp.StreamReader | None
    read: int
    alive_at: float


class Pulse:
    """Of the watches of these paths, from now on.

    Args:
        paths: Of the collections that are watched.
        clock: Seconds, monotonic.
    """

    def __init__(self, paths: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._streams = {path: _Stream(None, 0, clock()) for path in paths}

    def trace(self) -> aiohttp.TraceConfig:
        """For the client session whose watches these are."""
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._began)
        return trace

    def problem(self) -> str | None:
        """Names the watch that is silent for too long."""
        now = self._clock()
        for path, stream in self._streams.items():
            read = stream.content.total_bytes if stream.content else 0
            if read != stream.read:
                stream.read, stream.alive_at = read, now
            if (silent := now - stream.alive_at) > SILENT_SECONDS:
                return f"the watch of {path} has brought nothing for {silent:.0f} s"
        return None

    async def _began(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        request: aiohttp.TraceRequestEndParams,
    ) -> None:
        path = request.url.path
        if path in self._streams and "watch" in request.url.query and request.response.ok:
            self._streams[path] = _Stream(request.response.content, 0, self._clock())
