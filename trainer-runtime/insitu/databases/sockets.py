"""Sockets to database servers: opened with words for every failure, read without copies.

`server` is what messages call the server, as in `Ignite at 10.0.0.5:10800`.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from insitu.errors import ConfigurationError, DatabaseUnavailable


def spelled(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_CONNECT_SECONDS = 10.0
_SLOWEST = 256 << 10
"""Bytes a second; over a slower line nobody trains."""

_PAGE_BYTES = 64 << 10
"""Pages of rows are larger, and answers to control requests smaller."""

# A machine that is gone without a word is noticed within 15 s, a server that is merely slow is not:
# its kernel answers for it. In milliseconds, seconds, seconds and a number.
_DEAD_MACHINE = {
    "TCP_USER_TIMEOUT": 15_000,
    "TCP_KEEPIDLE": 6,
    "TCP_KEEPINTVL": 3,
    "TCP_KEEPCNT": 3,
}


def connect(host: str, port: int, server: str, timeout: float) -> socket.socket:
    """A connected socket that waits no longer than `timeout` seconds for anything.

    For the connection itself that is at most 10 s.

    Raises:
        DatabaseUnavailable: nothing answers there.
        ConfigurationError: whoever watches this thread does not want that address to be used.
    """
    try:
        sock = _reach(host, port, min(timeout, _CONNECT_SECONDS))
    except socket.gaierror as error:
        raise DatabaseUnavailable(
            f"{server}: the name '{host}' can't be resolved ({error.strerror})"
        ) from error
    except OSError as error:
        raise DatabaseUnavailable(f"{server} {why(error)}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _DEAD_MACHINE.items():
        if hasattr(socket, name):  # Not every system has all of them.
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    sock.settimeout(timeout)
    if (opened := _opened.get()) is not None:
        opened.add(sock)
    return sock


def _reach(host: str, port: int, timeout: float) -> socket.socket:
    opened = _opened.get()
    if opened is None:
        return socket.create_connection((host, port), timeout)
    problem: Exception = OSError("it has no address")
    # What a name leads to is looked up once: it may be something else the next time.
    for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if not opened.may_reach(str(address[0])):
            problem = ConfigurationError(
                f"{spelled(host, port)} leads to the address {address[0]}, which the operator may"
                " not connect to"
            )
            continue
        try:
            return socket.create_connection((str(address[0]), port), timeout)
        except OSError as error:
            problem = error
    raise problem


class OpenSockets:
    """All sockets that a thread opens inside `watched`, so that another one can end its wait.

    `may_reach` says which addresses the thread may connect to.
    """

    def __init__(self, may_reach: Callable[[str], bool] = lambda _address: True) -> None:
        self.may_reach = may_reach
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._ended = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What this thread opens meanwhile is kept here."""
        before = _opened.set(self)
        try:
            yield
        finally:
            _opened.reset(before)

    def add(self, sock: socket.socket) -> None:
        """Raises `DatabaseUnavailable` once `end` was called."""
        with self._lock:
            if self._ended:
                sock.close()
                raise DatabaseUnavailable("the server was given up: it took too long")
            # A second handle, because TLS takes the first one over.
            self._sockets.append(sock.dup())

    def end(self) -> None:
        """Every wait for one of them ends at once, with an error. From any thread."""
        with self._lock:
            self._ended = True
            sockets, self._sockets = self._sockets, []
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


_opened: ContextVar[OpenSockets | None] = ContextVar("opened", default=None)


def read_exactly(sock: socket.socket, size: int) -> memoryview:
    """The next `size` bytes, in a buffer of their own.

    All of them have to come within the socket's time-out, and a second more for each 256 KiB: a
    server that sends byte after byte is as good as silent.

    Raises:
        OSError: the connection broke, fell silent, is too slow or was closed.
    """
    buffer = _room(size)
    filled = 0
    timeout = sock.gettimeout()
    until = None if timeout is None else time.monotonic() + timeout + size / _SLOWEST
    while filled < size:
        if filled and until is not None and time.monotonic() > until:
            raise TimeoutError("the server sends too slowly")
        count = sock.recv_into(buffer[filled:])
        if not count:
            raise ConnectionResetError("the server closed the connection")
        filled += count
    return buffer


def _room(size: int) -> memoryview:
    if size < _PAGE_BYTES:
        return memoryview(bytearray(size))
    # From Arrow's pool, which hands out memory again without clearing it: fresh memory costs a
    # third of the time of reading a page of 20 MB into it. Control work gets by without Arrow.
    import pyarrow as pa

    return memoryview(pa.allocate_buffer(size)).cast("B")


def why(error: OSError) -> str:
    """What happened to the connection, as the end of a sentence that starts with the server."""
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection: nothing listens there"
    if isinstance(error, ConnectionError | ssl.SSLEOFError):
        return "closed the connection"
    return f"can't be reached ({error.strerror or error})"
