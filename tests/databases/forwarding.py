"""A second address for a server."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def forwarded(target: tuple[str, int]) -> Iterator[tuple[str, int]]:
    """Leads one connection to the server, whose certificate does not name this address."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(target) as inner,
        ThreadPoolExecutor(2) as pool,
    ):

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 16):
                    sink.sendall(data)
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        def serve() -> None:
            with listener.accept()[0] as outer:
                back = pool.submit(pump, inner, outer)
                pump(outer, inner)
                back.result()

        pool.submit(serve)
        yield listener.getsockname()
