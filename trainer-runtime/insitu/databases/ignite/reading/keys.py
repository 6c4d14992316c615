"""Where rows lie in their partition, by their keys as they come on the wire.

Ignite keeps a partition in a B+ tree: by the hash of the key, and rows of one hash by the bytes of
their keys, shorter ones first, then in words of eight bytes, then byte by byte, all signed
(`CacheDataTree.compare`). A scan gives them in that order.
"""

from __future__ import annotations

import bisect
import hashlib
import struct
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from insitu.databases import RowPosition
from insitu.databases.ignite.binary.codes import OBJECT_HEADER, Code
from insitu.databases.ignite.binary.decode import read_value
from insitu.databases.ignite.binary.hashes import java_hash, java_int
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.columns.rows import Rows, find_rows, size_at, sizes
from insitu.databases.ignite.reading.pages import Page
from insitu.errors import ProtocolError, UnsupportedType

_INT: Final = struct.Struct("<i")
_LONG: Final = struct.Struct("<q")
_HASH_AT: Final = 8
_LENGTH_AT: Final = 12
_WORD: Final = 8
#: Their hash is the number itself, or its bits.
_SMALL: Final = {
    Code.BYTE: "<b",
    Code.SHORT: "<h",
    Code.INT: "<i",
    Code.CHAR: "<H",
    Code.FLOAT: "<i",
}
_OTHERS: Final = (Code.OBJECT, Code.STRING, Code.UUID, Code.BOOL, Code.DECIMAL)
_LONGS: Final = (Code.LONG, Code.DOUBLE, Code.DATE, Code.TIMESTAMP, Code.TIME)

#: What rows of a partition are ordered by.
_Order: TypeAlias = tuple[int, int, tuple[int, ...], tuple[int, ...]]


class EntryKeys:
    """`insitu.databases.RowKeys` of a page of entries; finds its rows when it is first asked."""

    def __init__(self, page: Page, types: BinaryTypes) -> None:
        self._page = page
        self._types = types
        self._rows: Rows | None = None

    def position(self, row: int) -> RowPosition:
        """See `insitu.databases.RowKeys`.

        Raises:
            UnsupportedType: Ignite's hash of such keys is not known.
            ProtocolError: the page can't be read.
        """
        key = self.key(row)
        return RowPosition(hash_of(key), key)

    def up_to(self, position: RowPosition) -> int:
        return bisect.bisect_right(range(self._page.count), _order(position), key=self._order)

    def before(self, position: RowPosition) -> int:
        """How many rows, which are the first ones, lie before `position`."""
        return bisect.bisect_left(range(self._page.count), _order(position), key=self._order)

    def digests(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
        found = [hashlib.blake2b(self.key(row), digest_size=8).digest() for row in rows.tolist()]
        return np.frombuffer(b"".join(found), "<u8").astype(np.uint64)

    def _order(self, row: int) -> _Order:
        return _order(self.position(row))

    def through(self, key: bytes) -> tuple[int, bool]:
        """How many rows, which are the first ones, do not lie behind that of `key`, and whether no
        later page can have more of them. Keys whose order is not known are looked for.
        """
        if is_ordered(key):
            count = self.up_to(RowPosition(hash_of(key), key))
            return count, count < self._page.count
        for row in range(self._page.count):
            if self.key(row) == key:
                return row + 1, True
        return self._page.count, False

    def key(self, row: int) -> bytes:
        """The key of row `row`; an object without what it was wrapped in."""
        if self._rows is None:
            self._rows = _find(self._page, self._types)
        data, at = self._page.data, int(self._rows.keys[row])
        end = int(self._rows.values[row])
        if data[at] == Code.WRAPPED:
            (length,) = _INT.unpack_from(data, at + 1)
            (root,) = _INT.unpack_from(data, at + 5 + length)
            if not 0 <= root <= length - OBJECT_HEADER:
                raise ProtocolError(f"a key is wrapped in {length} bytes, and starts at {root}")
            at += 5 + root
            (size,) = _INT.unpack_from(data, at + _LENGTH_AT)
            end = min(at + size, end)
        return bytes(data[at:end])


def is_ordered(key: bytes) -> bool:
    """Whether it is known where a row of that key lies."""
    code = key[0]
    return code in _SMALL or code in _LONGS or code in _OTHERS


def hash_of(key: bytes) -> int:
    """The hash by which a partition's tree orders a key, from the key's bytes: Java's `hashCode`.

    Raises:
        UnsupportedType: it is not known for keys of this type.
    """
    code = key[0]
    if code == Code.OBJECT:
        found: int = _INT.unpack_from(key, _HASH_AT)[0]
        return found
    if code in _SMALL:
        return int(struct.unpack_from(_SMALL[Code(code)], key, 1)[0])
    if code in _LONGS:
        return _folded(_LONG.unpack_from(key, 1)[0])
    if code == Code.STRING:
        return java_hash(key[5:].decode("utf-8", "surrogatepass"))
    if code == Code.UUID:
        high, low = struct.unpack_from("<qq", key, 1)
        return _folded(high ^ low)
    if code == Code.BOOL:
        return 1231 if key[1] else 1237
    if code == Code.DECIMAL:
        return _decimal_hash(key)
    name = Code(code).name.lower() if code in Code._value2member_map_ else str(code)
    raise UnsupportedType(
        "key",
        f"the order in which Ignite keeps keys of type {name} is not known, so a checkpoint can't "
        "tell which rows it holds: train without checkpoint.store, or load the rows under keys of "
        "numbers, texts, UUIDs, times or objects",
    )


def _folded(long: int) -> int:
    """Java's `Long.hashCode`."""
    return java_int((long ^ (long >> 32)) & 0xFFFFFFFF)


def _decimal_hash(key: bytes) -> int:
    """Java's `BigDecimal.hashCode`."""
    scale, length = struct.unpack_from("<ii", key, 1)
    magnitude = bytearray(key[9 : 9 + length])
    negative = bool(magnitude and magnitude[0] & 0x80)
    if negative:
        magnitude[0] &= 0x7F
    number, digest = int.from_bytes(magnitude, "big"), 0
    for place in reversed(range(0, number.bit_length(), 32)):
        digest = digest * 31 + (number >> place & 0xFFFFFFFF)
    return java_int(31 * (-digest if negative else digest) + scale)


def _order(position: RowPosition) -> _Order:
    key = position.key
    whole = len(key) // _WORD * _WORD
    words = struct.unpack_from(f"<{whole // _WORD}q", key)
    return position.number, len(key), words, struct.unpack_from(f"{len(key) - whole}b", key, whole)


def _find(page: Page, types: BinaryTypes) -> Rows:
    found = _alike(page) or find_rows(page.data, page.start, page.count)
    if found is not None:
        return found
    keys, values = [], []
    at = page.start
    for _ in range(page.count):
        keys.append(at)
        _, at = read_value(page.data, at, types, "key")
        values.append(at)
        _, at = read_value(page.data, at, types, "val")
    return Rows(np.array(keys, np.int64), np.array(values, np.int64), at)


def _alike(page: Page) -> Rows | None:
    """Under the guess that all keys have one size and all values another, as the first row's."""
    key = size_at(page.data, page.start)
    value = size_at(page.data, page.start + key) if key else 0
    end = page.start + page.count * (key + value)
    if not value or end > len(page.data):
        return None
    keys = np.arange(page.start, end, key + value)
    data = np.frombuffer(page.data, np.uint8)
    if (sizes(data, keys) != key).any() or (sizes(data, keys + key) != value).any():
        return None
    return Rows(keys, keys + key, end)
