"""Keys that share a token, which keys that are drawn by chance hardly ever do.

Murmur3 (x64, 128 bits) turns 16 bytes into a token and 64 bits that are thrown away, by steps that
can each be undone: so for every choice of those bits there is a key.
"""

from __future__ import annotations

import struct

_ALL = (1 << 64) - 1
_C1, _C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F


def key_of(token: int, other: int) -> bytes:
    """The key of 16 bytes with this token, a different one for each `other`."""
    mixed = token - other & _ALL
    first, second = _unmixed(mixed), _unmixed(other & _ALL)
    second = second - first & _ALL
    first = first - second & _ALL
    first, second = first ^ 16, second ^ 16
    after_first = first
    first = (first - 0x52DCE729) * _inverse(5) & _ALL
    second = (second - 0x38495AB5) * _inverse(5) - after_first & _ALL
    first = _right(_right(first, 27) * _inverse(_C2) & _ALL, 31) * _inverse(_C1) & _ALL
    second = _right(_right(second, 31) * _inverse(_C1) & _ALL, 33) * _inverse(_C2) & _ALL
    return struct.pack("<QQ", first, second)


def _unmixed(value: int) -> int:
    value ^= value >> 33
    value = value * _inverse(0xC4CEB9FE1A85EC53) & _ALL
    value ^= value >> 33
    value = value * _inverse(0xFF51AFD7ED558CCD) & _ALL
    return value ^ value >> 33


def _right(value: int, by: int) -> int:
    """Rotated right."""
    return (value >> by | value << 64 - by) & _ALL


def _inverse(factor: int) -> int:
    return pow(factor, -1, 1 << 64)
