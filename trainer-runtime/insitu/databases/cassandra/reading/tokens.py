"""Tokens of partition keys. The server could send each row's token, at twelve bytes a row."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cassandra.metadata import Murmur3Token

_SHORT = struct.Struct(">H")


def token_of(key: Sequence[bytes]) -> int:
    """The Murmur3 token of the values of a partition key."""
    token: int = Murmur3Token.hash_fn(joined(key))
    return token


def joined(key: Sequence[bytes]) -> bytes:
    """The values of a partition key as the servers keep them; partitions of one token are in the
    order of these bytes.
    """
    return key[0] if len(key) == 1 else b"".join(map(_component, key))


def _component(value: bytes) -> bytes:
    return _SHORT.pack(len(value)) + value + b"\0"
