"""The numbers Ignite derives from names and bytes: ids of caches, types, fields, schemas, keys.

All are Java ints: 32 bits, signed. Source: Apache Ignite documentation, "Binary Client Protocol:
Data Format"; FNV-1 with the 32-bit basis and prime.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

_FNV_BASIS: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193


def java_int(number: int) -> int:
    """`number` modulo 2**32, as Java's signed int."""
    return ((number + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def java_hash(text: str) -> int:
    """Java's `String.hashCode`: over UTF-16 code units, so an emoji counts as two."""
    return _hash_units(_utf16(text))


def cache_id(name: str) -> int:
    """Id of a cache; its name counts exactly as written."""
    return java_hash(name)


def type_id(name: str) -> int:
    """Id of a binary type: the hash of its name in lower case."""
    return _hash_units(map(_lower, _utf16(name)))


def field_id(name: str) -> int:
    """Id of a field of a binary type: the hash of its name in lower case."""
    return type_id(name)


def schema_id(field_ids: Iterable[int]) -> int:
    """FNV-1 over the bytes of the field ids, in the order of the fields; 0 without fields."""
    digest: int | None = None
    for number in field_ids:
        digest = _FNV_BASIS if digest is None else digest
        for byte in (number & 0xFFFFFFFF).to_bytes(4, "little"):
            digest = ((digest ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return java_int(digest or 0)


def bytes_hash(data: bytes | bytearray | memoryview) -> int:
    """Java's `Arrays.hashCode(byte[])`: what the header of a complex object carries, over the
    bytes between header and footer.

    h = 31 * h + b from 1 on, which unrolls into a dot product with powers of 31.
    """
    signed = np.frombuffer(data, np.int8).astype(np.uint32)
    powers = np.full(signed.size + 1, 31, np.uint32)
    powers[-1] = 1
    powers = np.cumprod(powers[::-1], dtype=np.uint32)[::-1]
    return java_int(int(powers[0]) + int(np.dot(signed, powers[1:])))


def _utf16(text: str) -> memoryview:
    return memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")


def _hash_units(units: Iterable[int]) -> int:
    digest = 0
    for unit in units:
        digest = (31 * digest + unit) & 0xFFFFFFFF
    return java_int(digest)


def _lower(unit: int) -> int:
    """Java's `Character.toLowerCase(char)`: one unit in, one out; surrogates stay."""
    lowered = chr(unit).lower()
    return ord(lowered[0])
