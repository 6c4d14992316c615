"""Pages become Arrow columns without a Python step per row.

Every value on a page tells its size, and every complex object has a footer with the offsets of its
fields. So where the values of a whole column lie takes a few numpy expressions, and Arrow gathers
the bytes. What does not fit this way (nested objects, decimals, fields of changing types) is left
to the general decoder in binary.py, which is also what this is tested against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

import pyarrow as pa

from insitu.columns import empty_batch
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.columns import scattered, strided
from insitu.databases.ignite.columns.gather import KNOWN, Located
from insitu.databases.ignite.columns.layout import Column, RowLayout

_Locate: TypeAlias = Callable[[memoryview, int, int, RowLayout, BinaryTypes], list[Located] | None]

#: From the quickest, which asks most of a page, to the most general.
WAYS: Final[Mapping[str, _Locate]] = MappingProxyType(
    {"strided": strided.locate, "scattered": scattered.locate}
)


def quick_batch(
    page: memoryview,
    start: int,
    count: int,
    layout: RowLayout,
    types: BinaryTypes,
    ways: Sequence[str] = tuple(WAYS),
) -> pa.RecordBatch | None:
    """The `count` rows that start at byte `start` of `page`: the columns of `layout`.

    Returns:
        None where only the general decoder can read these rows, or tell what is wrong with them.

    Raises:
        ProtocolError: the cluster does not know the type or the schema of an object.
    """
    if not count:
        return empty_batch(layout.schema)
    for way in ways:
        located = WAYS[way](page, start, count, layout, types)
        if located is None:
            continue
        arrays = [_array(*each, count) for each in zip(located, layout.columns, strict=True)]
        if all(array is not None for array in arrays):
            return pa.RecordBatch.from_arrays(arrays, schema=layout.schema)
    return None


def _array(located: Located, column: Column, count: int) -> pa.Array | None:
    if located.cells is None:
        return pa.nulls(count, column.type)
    known = KNOWN.get(located.code)
    return known.gather(located.cells) if known and known.shape == column.shape else None
