"""Frames and the requests in them, as bytes.

Source: the native protocol's specification, version 4. Everything is big endian.

    frame     uint8 version | uint8 flags | int16 stream | uint8 opcode | int32 length | body
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping, Sequence
from typing import Final

REQUEST_VERSION: Final = 4
HEADER: Final = struct.Struct(">BBhBi")

_SHORT: Final = struct.Struct(">H")
_INT: Final = struct.Struct(">i")
_LONG: Final = struct.Struct(">q")

_VALUES: Final = 0x01
_SKIP_METADATA: Final = 0x02
_PAGE_SIZE: Final = 0x04
_PAGING_STATE: Final = 0x08


class Opcode(enum.IntEnum):
    """What a message is."""

    ERROR = 0x00
    STARTUP = 0x01
    READY = 0x02
    AUTHENTICATE = 0x03
    QUERY = 0x07
    RESULT = 0x08
    PREPARE = 0x09
    EXECUTE = 0x0A
    EVENT = 0x0C
    AUTH_CHALLENGE = 0x0E
    AUTH_RESPONSE = 0x0F
    AUTH_SUCCESS = 0x10


class Consistency(enum.IntEnum):
    """Whose answer counts. `NODE_LOCAL` is the asked node's own copy and no other, and is refused
    by servers that were not started with `cassandra.enable_nodelocal_queries`.
    """

    ONE = 0x01
    LOCAL_ONE = 0x0A
    NODE_LOCAL = 0x0B


def frame(stream: int, opcode: Opcode, body: bytes) -> bytes:
    """A request, ready to be sent."""
    return HEADER.pack(REQUEST_VERSION, 0, stream, opcode, len(body)) + body


def startup(options: Mapping[str, str]) -> bytes:
    """Body of `STARTUP`."""
    pairs = b"".join(_string(name) + _string(value) for name, value in options.items())
    return _SHORT.pack(len(options)) + pairs


def plain_login(username: str, password: str) -> bytes:
    """Body of `AUTH_RESPONSE` for SASL's PLAIN (RFC 4616)."""
    return _bytes(b"\0" + username.encode() + b"\0" + password.encode())


def prepare(cql: str) -> bytes:
    """Body of `PREPARE`."""
    return _long_string(cql)


def query(cql: str) -> bytes:
    """Body of `QUERY`, without values; any one copy of a row will do, also one far away."""
    return _long_string(cql) + _SHORT.pack(Consistency.ONE) + b"\0"


def long_value(number: int) -> bytes:
    """The bytes of a bigint to bind."""
    return _LONG.pack(number)


def execute(
    prepared: bytes,
    values: Sequence[bytes],
    *,
    consistency: Consistency,
    page_rows: int,
    paging_state: bytes | None,
) -> bytes:
    """Body of `EXECUTE`, for a reply without the metadata that `PREPARE` gave already."""
    flags = _VALUES | _SKIP_METADATA | _PAGE_SIZE | (_PAGING_STATE if paging_state else 0)
    parts = [
        _SHORT.pack(len(prepared)) + prepared,
        _SHORT.pack(consistency),
        bytes([flags]),
        _SHORT.pack(len(values)),
        *map(_bytes, values),
        _INT.pack(page_rows),
    ]
    if paging_state:
        parts.append(_bytes(paging_state))
    return b"".join(parts)


def _string(text: str) -> bytes:
    data = text.encode()
    return _SHORT.pack(len(data)) + data


def _long_string(text: str) -> bytes:
    return _bytes(text.encode())


def _bytes(data: bytes) -> bytes:
    return _INT.pack(len(data)) + data
