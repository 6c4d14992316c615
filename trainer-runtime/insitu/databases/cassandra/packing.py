"""Many samples in one row: the layout of tables that `insitu load --pack N` fills.

A row holds up to N samples that follow each other. Each column of the samples is one blob, their
values one after the other, little endian; `samples` says how many they are, and `pack` numbers the
rows. What a server does for each row and each cell of a page it then does N times less often:
measured on one node that shares two cores with its reader, rows of 18 numbers came 17 times as
fast with N = 256, and vectors of 256 floats 2.7 times with N = 64 (`make bench`).

The table's comment says what the blobs hold, as in
`insitu: {"pack": 256, "columns": {"embedding": "float[64]", "label": "int64"}}`.

Readers give single samples, and each enters an epoch exactly once as elsewhere: only the samples
of a row stay together in one shard. Columns are numbers and vectors of numbers, without nulls. A
sample can't be looked up or changed alone: to change any, load all files again, with the same N.
Take an N that makes rows of 16 to 256 KiB, and have many more rows than shards.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from insitu.errors import ConfigurationError, ProtocolError, UnsupportedType

NUMBER: Final = "pack"
COUNT: Final = "samples"

_PREFIX: Final = "insitu: "
_LIST: Final = re.compile(r"(\w+)\[(\d+)\]", re.ASCII)
_PLAIN: Final = {
    str(kind): kind
    for kind in (
        *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64()),
    )
}


@dataclass(frozen=True, slots=True)
class Packing:
    """`size` samples a row, fewer only in the last one; `schema` is that of the samples."""

    size: int
    schema: pa.Schema

    @property
    def stored(self) -> pa.Schema:
        """Of the rows."""
        fields = [(NUMBER, pa.int64()), (COUNT, pa.int32())]
        return pa.schema([*fields, *((name, pa.binary()) for name in self.schema.names)])

    @property
    def comment(self) -> str:
        """The inverse of `parse`."""
        columns = {field.name: _spelled(field) for field in self.schema}
        return _PREFIX + json.dumps({"pack": self.size, "columns": columns})

    def of(self, columns: Sequence[str]) -> Packing:
        """The same with some columns of the samples."""
        return Packing(self.size, pa.schema([self.schema.field(name) for name in columns]))


def packing_of(schema: pa.Schema, size: int) -> Packing:
    """For samples of `schema`, `size` in a row.

    Raises:
        UnsupportedType: a column is not of numbers or vectors of numbers.
        ConfigurationError: a column has the name of one that every packed table has.
    """
    for field in schema:
        if field.name in (NUMBER, COUNT):
            raise ConfigurationError(
                f"a packed table has a column '{field.name}' of its own; rename that of the files"
            )
        _spelled(field)
    return Packing(size, schema)


def parse(comment: str) -> Packing | None:
    """From a table's comment; None where that is of something else.

    Raises:
        ConfigurationError: a later version of Insitu has packed the table.
    """
    if not comment.startswith(_PREFIX):
        return None
    try:
        found = json.loads(comment.removeprefix(_PREFIX))
        columns = [(name, _parsed(kind)) for name, kind in found["columns"].items()]
        return Packing(int(found["pack"]), pa.schema(columns))
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ConfigurationError(
            f"the table's comment names a packing that is not known here: {comment}"
        ) from problem


def pack(packing: Packing, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
    """Rows of `packing.stored`; the first one has the number `first`.

    Raises:
        UnsupportedType: a value is null.
    """
    bounds = [*range(0, batch.num_rows, packing.size), batch.num_rows]
    columns: list[pa.Array] = [
        pa.array(np.arange(first, first + len(bounds) - 1, dtype=np.int64)),
        pa.array(np.diff(bounds).astype(np.int32)),
    ]
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        found, each = _numbers(name, values), _leaf(values.type)[1]
        pieces = [found[a * each : b * each].tobytes() for a, b in itertools.pairwise(bounds)]
        columns.append(pa.array(pieces, pa.binary()))
    return pa.RecordBatch.from_arrays(columns, schema=packing.stored)


def unpack(packing: Packing, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The samples of rows with the columns `samples` and those of `packing`, in their order.

    Raises:
        ProtocolError: a blob does not hold as many values as its row has samples.
    """
    counts = sample_counts(rows)
    columns = [
        _values(field, rows.column(place), counts) for place, field in enumerate(packing.schema, 1)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=packing.schema)


def sample_counts(rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """How many samples each row has; `samples` is the first column."""
    counts: npt.NDArray[np.int64] = rows.column(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return counts


def _values(field: pa.Field, blobs: pa.Array, counts: npt.NDArray[np.int64]) -> pa.Array:
    kind, each = _leaf(field.type)
    width = 1 if pt.is_boolean(kind) else kind.bit_width // 8
    ends = np.frombuffer(blobs.buffers()[1], np.int32)[blobs.offset :][: len(blobs) + 1]
    if blobs.null_count or not np.array_equal(np.diff(ends), counts * (each * width)):
        raise ProtocolError(
            f"{field.name}: a packed row does not hold as many values as it has samples"
        )
    total = int(counts.sum()) * each
    data = blobs.buffers()[2].slice(int(ends[0]), total * width) if total else pa.py_buffer(b"")
    if pt.is_boolean(kind):
        found = pa.array(np.frombuffer(data, np.uint8) != 0)
    else:
        found = pa.Array.from_buffers(kind, total, [None, data])
    if not pt.is_fixed_size_list(field.type):
        return found
    return pa.FixedSizeListArray.from_arrays(found, type=field.type)


def _numbers(name: str, values: pa.Array) -> npt.NDArray[Any]:
    if pt.is_fixed_size_list(values.type):
        # Not `values`, which knows nothing of slices.
        nulls, values = values.null_count, values.flatten()
        if nulls:
            raise _null(name)
    if values.null_count:
        raise _null(name)
    found: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found.astype(found.dtype.newbyteorder("<"), copy=False)


def _null(name: str) -> UnsupportedType:
    return UnsupportedType(name, "a packed table has no place for null; load it without packing")


def _leaf(kind: pa.DataType) -> tuple[pa.DataType, int]:
    return (kind.value_type, kind.list_size) if pt.is_fixed_size_list(kind) else (kind, 1)


def _spelled(field: pa.Field) -> str:
    kind, each = _leaf(field.type)
    if str(kind) not in _PLAIN:
        raise UnsupportedType(
            field.name,
            f"{field.type} can't be packed, only numbers and vectors of them: load without packing",
        )
    return f"{kind}[{each}]" if pt.is_fixed_size_list(field.type) else str(kind)


def _parsed(text: str) -> pa.DataType:
    match = _LIST.fullmatch(text)
    return pa.list_(_PLAIN[match[1]], int(match[2])) if match else _PLAIN[text]
