"""Frames on a socket: a header of nine bytes, then a body, received without copies."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

from insitu.databases.cassandra.protocol.messages import HEADER, REQUEST_VERSION, Opcode
from insitu.databases.cassandra.protocol.results import Scanner
from insitu.databases.sockets import read_exactly
from insitu.errors import ProtocolError

#: The specification allows no longer body.
LONGEST: Final = 256 << 20

_REPLY: Final = 0x80
_COMPRESSED: Final = 0x01
_TRACING: Final = 0x02
_PAYLOAD: Final = 0x04
_WARNING: Final = 0x08
_SKIPPED_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """A message of the server. `size` is the length of its body, and `body` None where that was
    over the limit: it was received and thrown away.
    """

    stream: int
    opcode: int
    size: int
    body: memoryview | None


def read_frame(sock: socket.socket, limit: int = LONGEST) -> Frame:
    """The next message, its body in a buffer of its own.

    Raises:
        ProtocolError: this is no message of the protocol's version 4.
        OSError: the connection broke, fell silent or was closed.
    """
    version, flags, stream, opcode, size = HEADER.unpack(read_exactly(sock, HEADER.size))
    older = version in (_REPLY | 1, _REPLY | 2, _REPLY | 3)
    if version != _REPLY | REQUEST_VERSION and not (older and opcode == Opcode.ERROR):
        raise ProtocolError(f"a message can't begin with the byte {version:#04x}")
    if not 0 <= size <= LONGEST:
        raise ProtocolError(f"a message of {size} bytes is not allowed")
    if flags & _COMPRESSED:
        raise ProtocolError("a compressed message, and no compression was asked for")
    if size > limit:
        _skip(sock, size)
        return Frame(stream, opcode, size, None)
    body = read_exactly(sock, size)
    return Frame(stream, opcode, size, body[_extras(body, flags) :])


def _skip(sock: socket.socket, size: int) -> None:
    while size:
        size -= len(read_exactly(sock, min(size, _SKIPPED_AT_ONCE)))


def _extras(body: memoryview, flags: int) -> int:
    """Bytes in front of the message itself: what tracing, warnings and plug-ins have to say."""
    scanner = Scanner(body)
    if flags & _TRACING:
        scanner.take(16)
    if flags & _WARNING:
        for _ in range(scanner.short()):
            scanner.string()
    if flags & _PAYLOAD:
        for _ in range(scanner.short()):
            scanner.string()
            scanner.data()
    return scanner.at
