"""Messages on a socket: a length (int32), then that many bytes, read without copies."""

from __future__ import annotations

import socket
import ssl
import struct

import pyarrow as pa

from insitu.errors import ProtocolError

LENGTH = struct.Struct("<i")
NULL = 101
STRING = 9
BYTE_ARRAY = 12


def read_frame(sock: socket.socket, *, limit: int = (1 << 31) - 1, least: int = 10) -> memoryview:
    """The next message, in a buffer of its own.

    Raises:
        ProtocolError: its length, in bytes, is not between `least` and `limit`.
        OSError: the connection broke, fell silent or was closed.
    """
    (length,) = LENGTH.unpack(_read_exactly(sock, LENGTH.size))
    if not least <= length <= limit:
        raise ProtocolError(f"a message of {length} bytes is not allowed here")
    return _read_exactly(sock, length)


def _read_exactly(sock: socket.socket, size: int) -> memoryview:
    # From Arrow's pool, which hands out memory again without clearing it: fresh memory costs a
    # third of the time of reading a page of 20 MB into it.
    buffer = memoryview(pa.allocate_buffer(size)).cast("B")
    filled = 0
    while filled < size:
        count = sock.recv_into(buffer[filled:])
        if not count:
            raise ConnectionResetError("the server closed the connection")
        filled += count
    return buffer


def read_string(frame: memoryview, offset: int) -> tuple[str, int]:
    """The string at `offset`, empty for null, and the offset after it."""
    if frame[offset] == NULL:
        return "", offset + 1
    (size,) = LENGTH.unpack_from(frame, offset + 1)
    start = offset + 5
    return str(frame[start : start + size], "utf-8", "replace"), start + size


def why(error: OSError) -> str:
    """What happened to the connection, as the end of a sentence that starts with the node."""
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection: nothing listens there"
    if isinstance(error, ConnectionError | ssl.SSLEOFError):
        return "closed the connection"
    return f"can't be reached ({error.strerror or error})"
