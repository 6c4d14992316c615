"""Many samples in one row: what goes in comes out, and nothing else is taken for it."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.databases.cassandra.columns.rows import locate
from insitu.databases.cassandra.columns.types import Column, Native
from insitu.databases.cassandra.packing import (
    pack,
    packing_of,
    parse,
    sample_counts,
    unpack,
)
from insitu.databases.cassandra.reading.keys import KeyShape, PageKeys, RowKey
from insitu.databases.cassandra.reading.tokens import token_of
from insitu.errors import ConfigurationError, ProtocolError, UnsupportedType
from tests.cassandra_values import page


def samples(count: int) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "id": pa.array(range(count), pa.int64()),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(3.0 * count)), 3),
            "half": pa.array(np.arange(count, dtype=np.float16)),
            "odd": pa.array([bool(n % 2) for n in range(count)], pa.bool_()),
        }
    )


@given(count=st.integers(0, 40), size=st.integers(2, 12), start=st.integers(0, 3))
def test_samples_survive_their_packs(count: int, size: int, start: int) -> None:
    batch = samples(count + start).slice(start)
    packing = packing_of(batch.schema, size)
    rows = pack(packing, batch, first=7)
    assert rows.schema == packing.stored
    assert rows.column("pack").to_pylist() == list(range(7, 7 + -(-count // size)))
    assert unpack(packing, rows.select(["samples", *batch.schema.names])) == batch
    part = packing.of(["odd", "v"])
    assert unpack(part, rows.select(["samples", "odd", "v"])) == batch.select(["odd", "v"])


def test_the_comment_of_a_table_says_how_it_is_packed() -> None:
    packing = packing_of(samples(1).schema, 64)
    assert parse(packing.comment) == packing
    assert parse("") is None
    assert parse("the rows of 2019") is None
    for unknown in ("insitu: {}", "insitu: x", packing.comment.replace("int64", "int65")):
        with pytest.raises(ConfigurationError, match="a packing that is not known"):
            parse(unknown)


def test_what_has_no_place_in_a_pack_is_refused() -> None:
    with pytest.raises(UnsupportedType, match=r"^t: string can't be packed"):
        packing_of(pa.schema([("t", pa.string())]), 2)
    with pytest.raises(ConfigurationError, match="a column 'samples' of its own"):
        packing_of(pa.schema([("samples", pa.int8())]), 2)
    for column in (
        pa.array([1, None]),
        pa.array([[1], None], pa.list_(pa.int64(), 1)),
        pa.array([[1], [None]], pa.list_(pa.int64(), 1)),
    ):
        batch = pa.record_batch({"a": column})
        with pytest.raises(UnsupportedType, match=r"^a: a packed table has no place for null"):
            pack(packing_of(batch.schema, 2), batch, 0)


def test_a_blob_of_another_size_than_its_samples_raises() -> None:
    packing = packing_of(samples(1).schema, 4)
    rows = pack(packing, samples(8), 0).select(["samples", "id", "v", "half", "odd"])
    damaged = rows.set_column(1, "id", pa.array([b"\0" * 32, b"\0" * 31]))
    with pytest.raises(ProtocolError, match="id: a packed row does not hold"):
        unpack(packing, damaged)


def test_each_sample_has_a_key_of_its_own() -> None:
    keys = sorted((struct.pack(">q", n) for n in range(3)), key=lambda key: token_of([key]))
    rows = pa.record_batch({"samples": pa.array([4, 4, 1], pa.int32())})
    cells = locate(page([[key] for key in keys]), (Column("pack", Native.BIGINT),))
    found = PageKeys(KeyShape(1, packed=True), cells, 3, sample_counts(rows))
    expected = [RowKey((keys[n // 4],), (), n % 4) for n in range(9)]
    assert [found.key(row) for row in range(len(found))] == expected
    assert len({key.position for key in expected}) == 9
    assert len(set(found.digests(np.arange(9)).tolist())) == 9
    assert [found.before(key) for key in expected] == list(range(9))
    assert found.before(RowKey((keys[1],), (), 9)) == 8
