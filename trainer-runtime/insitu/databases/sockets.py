"""Sockets to database servers: opened with words for every failure, read without copies.

`server` is what messages call the server, as in `Ignite at 10.0.0.5:10800`.
"""

from __future__ import annotations

import socket
import ssl

from insitu.errors import DatabaseUnavailable


def spelled(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_CONNECT_SECONDS = 10.0
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
    """
    try:
        sock = socket.create_connection((host, port), timeout=min(timeout, _CONNECT_SECONDS))
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
    return sock


def read_exactly(sock: socket.socket, size: int) -> memoryview:
    """The next `size` bytes, in a buffer of their own.

    Raises:
        OSError: the connection broke, fell silent or was closed.
    """
    buffer = _room(size)
    filled = 0
    while filled < size:
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
