"""A server that trainers tell of every step before they take it, and that can hold them up."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.audit import Line
from tests.cluster.submitted import PATIENCE_SECONDS


class Moment(NamedTuple):
    """A rank is about to take a step."""

    generation: int
    rank: int
    step: int


@dataclass(frozen=True)
class _Hold:
    at: Moment | None
    reached: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)


@dataclass
class Witness:
    """`url` is for pods: they POST a line of the audit, or GET and hear nothing until `go`.

    `lines` are all that were told, of steps that were never taken too.
    """

    url: str
    lines: list[Line] = field(default_factory=list)
    _hold: _Hold = field(default_factory=lambda: _Hold(None))

    def hold(self, generation: int, rank: int, step: int) -> None:
        """This rank waits before this step until `go` or the next `hold`, and with it all others.

        Whoever waits somewhere else goes on.
        """
        before, self._hold = self._hold, _Hold(Moment(generation, rank, step))
        before.gone.set()

    def until_held(self) -> None:
        """Returns when the rank waits there."""
        if not self._hold.reached.wait(PATIENCE_SECONDS):
            raise TimeoutError(f"{self._hold.at} never came; told of {len(self.lines)} steps")

    def go(self) -> None:
        """Whoever waits goes on, and nobody waits any more."""
        self._hold.gone.set()

    def hear(self, line: Line) -> None:
        self.lines.append(line)
        hold = self._hold
        if Moment(line["generation"], line["rank"], line["step"]) == hold.at:
            hold.reached.set()
            hold.gone.wait()

    def wait(self) -> None:
        self._hold.gone.wait()


@contextmanager
def witness(host: str) -> Iterator[Witness]:
    """Listens on a port of `host` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            heard.hear(json.loads(self.rfile.read(length)))
            self._answer()

        def do_GET(self) -> None:
            heard.wait()
            self._answer()

        def _answer(self) -> None:
            with contextlib.suppress(OSError):  # Who was held up may be gone.
                self.send_response(200)
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - its word

    with ThreadingHTTPServer((host, 0), Handler) as server:
        heard = Witness(f"http://{host}:{server.server_address[1]}/")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield heard
        finally:
            heard.go()
            server.shutdown()
            thread.join()
