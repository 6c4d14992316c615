"""Arrow columns into encoded values: one `bytes` a row, with its type code in front."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.binary.encode import write_as
from insitu.databases.ignite.binary.values import Array
from insitu.databases.ignite.writing.storage import Storage
from insitu.errors import UnsupportedType

_NULL: Final = bytes([Code.NULL])
_NANOS_PER_MILLI: Final = 1_000_000
_TIMESTAMP: Final = np.dtype([("code", "u1"), ("millis", "<i8"), ("nanos", "<i4")])


def encode_column(name: str, column: pa.Array, storage: Storage) -> list[bytes]:
    """The values of `column`, as the wire has them.

    Raises:
        UnsupportedType: a value does not fit the type it is stored as, or a list holds a null.
    """
    column = _cast(name, column, storage.arrow)
    cells = _encode(name, column, storage.code)
    if column.null_count:
        for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
            cells[row] = _NULL
    return cells


def _cast(name: str, column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    try:
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UnsupportedType(
            name, f"not every value fits the stored type {wanted}: {error}"
        ) from error


def _encode(name: str, column: pa.Array, code: Code) -> list[bytes]:
    kind = column.type
    if pa.types.is_large_list(kind):
        if column.flatten().null_count:
            raise UnsupportedType(f"{name}[]", "a null inside a list can't be stored in Ignite")
        if code is Code.STRING_ARRAY:
            return [_one(name, code, _strings(items)) for items in column.to_pylist()]
        return _arrays(column, code)
    if code in (Code.STRING, Code.BYTE_ARRAY):
        return _texts(column.cast(pa.large_binary()), code)
    if code is Code.TIMESTAMP:
        return _timestamps(_filled(column.cast(pa.int64())))
    if code is Code.DATE:
        return _fixed(_filled(column.cast(pa.int64())), code)
    if code is Code.TIME:
        return _fixed(_filled(column.cast(pa.int32())).astype("<i8"), code)
    if code is Code.BOOL:
        return _fixed(_filled(column.cast(pa.uint8())), code)
    if code in (Code.UUID, Code.DECIMAL):
        return [_one(name, code, value) for value in column.to_pylist()]
    return _fixed(_filled(column), code)


def _filled(column: pa.Array) -> npt.NDArray[Any]:
    zero = pa.scalar(0).cast(column.type)
    values = pc.fill_null(column, zero) if column.null_count else column
    numbers: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(numbers)


def _fixed(values: npt.NDArray[Any], code: Code) -> list[bytes]:
    width = values.dtype.itemsize
    table = np.empty((values.size, 1 + width), np.uint8)
    table[:, 0] = code
    table[:, 1:] = values.view(np.uint8).reshape(values.size, width)
    return _sliced(table.tobytes(), 1 + width)


def _timestamps(since: npt.NDArray[np.int64]) -> list[bytes]:
    table = np.empty(since.size, _TIMESTAMP)
    table["code"] = Code.TIMESTAMP
    table["millis"], table["nanos"] = np.divmod(since, _NANOS_PER_MILLI)
    return _sliced(table.tobytes(), _TIMESTAMP.itemsize)


def _sliced(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _texts(column: pa.Array, code: Code) -> list[bytes]:
    head = struct.Struct("<Bi").pack
    return [_NULL if v is None else head(code, len(v)) + v for v in column.to_pylist()]


def _arrays(column: pa.Array, code: Code) -> list[bytes]:
    offsets = column.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    # What lies under a null row may hold nulls of its own.
    numbers = _filled(column.values.slice(first, last - first))
    data = numbers.tobytes()
    width = numbers.dtype.itemsize
    head = struct.Struct("<Bi").pack
    starts = (offsets - first) * width
    return [
        head(code, (end - start) // width) + data[start:end]
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]


def _strings(items: list[str] | None) -> Array | None:
    return None if items is None else Array(Code.STRING_ARRAY, tuple(items))


def _one(name: str, code: Code, value: object) -> bytes:
    out = bytearray()
    write_as(out, code, value, name)
    return bytes(out)
