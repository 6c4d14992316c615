"""The loopback endpoint that this job's trainers report to."""

from __future__ import annotations

import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from insitu.progress import Heartbeat, received
from insitu_operator.core.heartbeats import Ranks

_LARGEST_BODY = 4 << 20
_READ_SECONDS = 5.0
_EVERY_SECONDS = 1.0


class HeartbeatServer:
    """Keeps the newest heartbeat of each rank; answers with the current generation.

    The address holds a secret, so that other users of the machine can't report.
    """

    def __init__(self, job: str) -> None:
        self._job = job
        self._path = f"/{secrets.token_urlsafe(24)}"
        self._ranks = Ranks()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{self._path}"

    def advance(self, generation: int) -> None:
        """From now on this generation is the current one."""
        with self._lock:
            self._ranks.generation = generation

    def newest(self, generation: int, rank: int) -> Heartbeat | None:
        """What the rank last reported, if it has."""
        with self._lock:
            return self._ranks.newest(generation, rank)

    @property
    def log_generation(self) -> int:
        """The highest generation that any rank has met in the log of commits."""
        with self._lock:
            return self._ranks.log_generation

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, heartbeat: Heartbeat) -> str:
        with self._lock:
            self._ranks.take(heartbeat)
            return self._ranks.reply(heartbeat, _EVERY_SECONDS).model_dump_json()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _READ_SECONDS

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if self.path != server._path or not 0 < length <= _LARGEST_BODY:
                    self.send_error(404)
                    return
                try:
                    heartbeat = received(self.rfile.read(length), time.time())
                except ValueError:
                    self.send_error(400)
                    return
                if heartbeat.job != server._job:
                    self.send_error(403)
                    return
                answer = server._take(heartbeat).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """A line for each heartbeat helps nobody."""

        return Handler
