"""Record batches into cache entries: a key, and a complex object with all the other columns."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from insitu.databases.ignite.binary.codes import OBJECT_HEADER, Code, Flag
from insitu.databases.ignite.binary.hashes import field_id, java_int, schema_id, type_id
from insitu.databases.ignite.binary.metadata import BinaryType, object_type
from insitu.databases.ignite.binary.objects import HEADER
from insitu.databases.ignite.writing.cells import encode_column
from insitu.databases.ignite.writing.storage import Storage

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Column:
    """`source` is the batch's column, `name` the field or SQL column it fills."""

    source: str
    name: str
    storage: Storage


@dataclass(frozen=True, slots=True)
class Layout:
    """What a table's entries are made of. One key column is the bare key, several an object."""

    key: tuple[Column, ...]
    value: tuple[Column, ...]
    key_type: str
    value_type: str

    @property
    def binary_types(self) -> tuple[BinaryType, ...]:
        """The types whose metadata the cluster has to know before it takes entries."""
        value = _binary_type(self.value_type, self.value)
        if len(self.key) == 1:
            return (value,)
        return (_binary_type(self.key_type, self.key), value)


def encode_entries(batch: pa.RecordBatch, layout: Layout) -> list[bytes]:
    """Key and value of each row, one after the other, as `OP_CACHE_PUT_ALL` takes them.

    Raises:
        UnsupportedType: a value does not fit the type it is stored as.
    """
    if len(layout.key) == 1:
        keys = _cells(batch, layout.key)[0]
    else:
        keys = _objects(batch, layout.key_type, layout.key)
    values = _objects(batch, layout.value_type, layout.value)
    return [key + value for key, value in zip(keys, values, strict=True)]


def _binary_type(name: str, columns: Sequence[Column]) -> BinaryType:
    return object_type(name, {column.name: column.storage.code for column in columns})


def _cells(batch: pa.RecordBatch, columns: Sequence[Column]) -> list[list[bytes]]:
    return [encode_column(c.source, batch.column(c.source), c.storage) for c in columns]


def _objects(batch: pa.RecordBatch, name: str, columns: Sequence[Column]) -> list[bytes]:
    rows = list(zip(*_cells(batch, columns), strict=True))
    bodies = [b"".join(cells) for cells in rows]
    hashes = body_hashes(bodies)
    number, schema = type_id(name), schema_id(field_id(column.name) for column in columns)
    objects = []
    for cells, body, digest in zip(rows, bodies, hashes, strict=True):
        flags, footer = _footer(cells)
        end = OBJECT_HEADER + len(body)
        size = end + len(footer)
        head = HEADER.pack(Code.OBJECT, _VERSION, flags, number, digest, size, schema, end)
        objects.append(head + body + footer)
    return objects


def _footer(cells: Sequence[bytes]) -> tuple[int, bytes]:
    """Flags and offsets of an object with these fields."""
    offsets = []
    at = OBJECT_HEADER
    for cell in cells:
        offsets.append(at)
        at += len(cell)
    return _packed(tuple(offsets))


@lru_cache(maxsize=1024)
def _packed(offsets: tuple[int, ...]) -> tuple[int, bytes]:
    flags = Flag.USER_TYPE | Flag.HAS_SCHEMA | Flag.COMPACT_FOOTER
    if offsets[-1] < 1 << 8:
        return int(flags | Flag.OFFSET_ONE_BYTE), bytes(offsets)
    if offsets[-1] < 1 << 16:
        packed = struct.pack(f"<{len(offsets)}H", *offsets)
        return int(flags | Flag.OFFSET_TWO_BYTES), packed
    return int(flags), struct.pack(f"<{len(offsets)}i", *offsets)


def body_hashes(bodies: Sequence[bytes]) -> list[int]:
    """Java's `Arrays.hashCode(byte[])` of each: bodies of one length are hashed together."""
    by_size: dict[int, list[int]] = {}
    for row, body in enumerate(bodies):
        by_size.setdefault(len(body), []).append(row)
    hashes = [0] * len(bodies)
    for size, rows in by_size.items():
        joined = b"".join(bodies[row] for row in rows)
        signed = np.frombuffer(joined, np.int8).astype(np.uint32).reshape(len(rows), size)
        powers = _powers(size)
        for row, digest in zip(
            rows, (np.einsum("ij,j->i", signed, powers[1:]) + powers[0]).tolist(), strict=True
        ):
            hashes[row] = java_int(digest)
    return hashes


@lru_cache(maxsize=64)
def _powers(size: int) -> npt.NDArray[np.uint32]:
    """31 to the powers size, size - 1, ..., 0, modulo 2**32."""
    powers = np.full(size + 1, 31, np.uint32)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint32)[::-1].copy()
