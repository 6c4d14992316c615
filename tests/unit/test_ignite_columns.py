"""The quick ways from a page to columns: the same as the general decoder, or not taken."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.databases.ignite.binary.codes import Code
from insitu.databases.ignite.binary.decode import read_rows
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.binary.values import BinaryObject, Row, Value
from insitu.databases.ignite.columns.arrow import rows_to_batch
from insitu.databases.ignite.columns.layout import RowLayout
from insitu.databases.ignite.columns.quick import WAYS, quick_batch
from insitu.databases.ignite.columns.schema import plan_layout
from insitu.errors import InsituError, ProtocolError, UnsupportedType
from tests.ignite_values import ARRAYS, LEAVES, binary_object, encoded, types_of

#: Before the first row: the number of rows, and the cursor of a first page.
START = 12

QUICK = [
    *(Code.BYTE, Code.SHORT, Code.INT, Code.LONG, Code.FLOAT, Code.DOUBLE, Code.BOOL),
    *(Code.STRING, Code.BYTE_ARRAY, Code.DATE, Code.TIMESTAMP, Code.TIME, Code.UUID),
    *(Code.SHORT_ARRAY, Code.INT_ARRAY, Code.LONG_ARRAY, Code.FLOAT_ARRAY),
    *(Code.DOUBLE_ARRAY, Code.BOOL_ARRAY),
]
VALUES_OF = {**LEAVES, **ARRAYS}
FIELDS = ("id", "Größe", "street", "x")


@dataclass(frozen=True)
class Page:
    """Rows as a server sends them, with all that is needed to read them."""

    data: memoryview
    count: int
    layout: RowLayout
    types: BinaryTypes

    def by(self, *ways: str) -> Any:
        """A batch, or None."""
        return quick_batch(self.data, START, self.count, self.layout, self.types, ways)

    def slowly(self) -> pa.RecordBatch:
        return rows_to_batch(self.rows(), self.layout)

    def rows(self) -> list[Row]:
        return read_rows(self.data, START, self.count, self.types)[0]

    def damaged(self, at: int, byte: int) -> Page:
        data = bytearray(self.data)
        data[START + at % (len(data) - START)] = byte
        return Page(memoryview(bytes(data)), self.count, self.layout, self.types)


def page_of(rows: Sequence[Row], wrapping: Sequence[int | None] = (0,)) -> Page:
    """`wrapping[i % n]` bytes of junk stand before the root of row i's objects; None: no wrap."""
    types = types_of(*(part for row in rows for part in row))
    data = bytearray(START)
    for number, row in enumerate(rows):
        for part in row:
            data += _sent(part, wrapping[number % len(wrapping)])
    return Page(memoryview(bytes(data)), len(rows), plan_layout(None, types, rows), types)


def _sent(value: Value, wrapping: int | None) -> bytes:
    data = bytes(encoded(value))
    if not isinstance(value, BinaryObject) or wrapping is None:
        return data
    payload = bytes(wrapping) + data
    return struct.pack("<bi", Code.WRAPPED, len(payload)) + payload + struct.pack("<i", wrapping)


def contents(batch: pa.RecordBatch) -> dict[str, Any]:
    """Comparable, not-a-number and instants beyond Python's reach included."""
    return {name: _contents(batch.column(name)) for name in batch.schema.names}


def _contents(column: pa.Array) -> str:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return f"{column.type}: {column.to_pylist()!r}"


@st.composite
def pages(draw: st.DrawFn, codes: Sequence[Code], *, missing: bool = True) -> Page:
    """Objects with up to four fields of `codes`; some are null, some are in no schema."""
    kinds = draw(st.lists(st.sampled_from(codes), min_size=1, max_size=len(FIELDS)))
    rows: list[Row] = []
    for number in range(draw(st.integers(1, 5))):
        names = FIELDS[: len(kinds)]
        fields: dict[str, Any] = {}
        for name, code in zip(names, kinds, strict=True):
            if number and missing and draw(st.booleans()):
                continue
            nulls = st.none() if number and missing else st.nothing()
            fields[name] = draw(VALUES_OF[code] | nulls)
        rows.append((draw(LEAVES[Code.LONG]), binary_object("Person", **fields)))
    return page_of(rows, draw(st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=2)))


@given(pages(QUICK))
def test_pages_of_differing_rows_are_read_the_same_way_as_slowly(page: Page) -> None:
    try:
        slow = page.slowly()
    except UnsupportedType:
        return
    quick = page.by("scattered")
    assert quick is not None
    quick.validate(full=True)
    assert contents(quick) == contents(slow)
    strided = page.by("strided")
    assert strided is None or contents(strided) == contents(slow)


@given(st.sampled_from(QUICK).flatmap(lambda code: VALUES_OF[code]), st.integers(1, 5))
def test_pages_of_alike_rows_are_read_as_one_table(value: Value, count: int) -> None:
    row = binary_object("Person", x=value, label=np.int32(3), same=value)
    page = page_of([(np.int64(key), row) for key in range(count)])
    quick = page.by("strided")
    assert quick is not None
    quick.validate(full=True)
    assert contents(quick) == contents(page.slowly()) == contents(page.by("scattered"))


@given(st.lists(VALUES_OF[Code.STRING], min_size=1, max_size=5), VALUES_OF[Code.BYTE_ARRAY])
def test_keys_and_values_that_are_no_objects_are_columns(keys: list[str], value: bytes) -> None:
    page = page_of([(key, value) for key in keys])
    assert contents(page.by("scattered")) == contents(page.slowly())
    assert page.by("scattered").column("value").to_pylist() == [value] * len(keys)


@given(pages([*QUICK, Code.DECIMAL, Code.STRING_ARRAY, Code.CHAR]))
def test_what_only_the_general_decoder_reads_is_left_to_it(page: Page) -> None:
    try:
        slow = page.slowly()
    except UnsupportedType:
        return
    for way in WAYS:
        quick = page.by(way)
        assert quick is None or contents(quick) == contents(slow)


@given(pages(QUICK), st.integers(0), st.integers(0, 255))
def test_damaged_pages_are_refused_or_read_the_same_way_as_slowly(
    page: Page, at: int, byte: int
) -> None:
    damaged = page.damaged(at, byte)
    for way in WAYS:
        try:
            quick = damaged.by(way)
        except ProtocolError:
            continue
        if quick is not None:
            quick.validate(full=True)
            _same_as_slowly_or_refused(damaged, quick)


def _same_as_slowly_or_refused(page: Page, quick: pa.RecordBatch) -> None:
    try:
        slow = page.slowly()
    except InsituError:
        return
    assert contents(quick) == contents(slow)


@pytest.mark.parametrize("way", WAYS)
def test_a_page_that_is_cut_off_is_not_read(way: str) -> None:
    whole = page_of([(np.int64(key), binary_object("P", x="long enough")) for key in range(3)])
    for end in range(START, len(whole.data)):
        short = Page(whole.data[:end], whole.count, whole.layout, whole.types)
        assert short.by(way) is None


@pytest.mark.parametrize("way", WAYS)
def test_an_object_of_another_type_is_left_to_the_general_decoder(way: str) -> None:
    page = page_of([(np.int64(1), binary_object("A", x="1")), (np.int64(2), None)])
    other = page_of([(np.int64(1), binary_object("B", x="1")), (np.int64(2), None)])
    assert Page(other.data, 2, page.layout, other.types).by(way) is None


def test_rows_whose_keys_have_a_field_in_different_places_are_scattered() -> None:
    rows = [
        (np.int64(1), binary_object("P", a="12", b="345")),
        (np.int64(2), binary_object("P", a="123", b="45")),
    ]
    page = page_of(rows)
    assert page.by("strided") is None
    assert page.by("scattered").column("b").to_pylist() == ["345", "45"]


def test_a_page_without_rows_is_an_empty_batch_of_the_schema() -> None:
    page = page_of([(np.int64(1), b"x")])
    empty = quick_batch(page.data[:START], START, 0, page.layout, page.types)
    assert empty is not None
    assert (empty.num_rows, empty.schema) == (0, page.layout.schema)


def test_large_values_are_copied_into_one_buffer() -> None:
    values = [bytes([row]) * 100_000 for row in range(4)]
    page = page_of([(np.int64(row), value) for row, value in enumerate(values)])
    quick = page.by("strided")
    assert quick is not None
    assert quick.column("value").to_pylist() == values
    assert quick.column("value").buffers()[2].size == 400_000
