"""Messages on a socket: a length (int32), then that many bytes, read without copies."""

from __future__ import annotations

import socket
import struct

from insitu.databases.sockets import read_exactly
from insitu.errors import ProtocolError

LENGTH = struct.Struct("<i")
NULL = 101
STRING = 9
BYTE_ARRAY = 12


class TooLarge(ProtocolError):
    """A message is longer than its receiver takes."""


def read_frame(sock: socket.socket, *, limit: int, least: int = 10) -> memoryview:
    """The next message, in a buffer of its own.

    Raises:
        TooLarge: it has more than `limit` bytes.
        ProtocolError: it has less than `least` bytes.
        OSError: the connection broke, fell silent or was closed.
    """
    (length,) = LENGTH.unpack(read_exactly(sock, LENGTH.size))
    if length > limit:
        raise TooLarge(f"a message of {length:,} bytes came, and {limit:,} at most are taken here")
    if length < least:
        raise ProtocolError(f"a message of {length} bytes is not allowed here")
    return read_exactly(sock, length)


def read_string(frame: memoryview, offset: int) -> tuple[str, int]:
    """The string at `offset`, empty for null, and the offset after it."""
    if frame[offset] == NULL:
        return "", offset + 1
    (size,) = LENGTH.unpack_from(frame, offset + 1)
    start = offset + 5
    return str(frame[start : start + size], "utf-8", "replace"), start + size
