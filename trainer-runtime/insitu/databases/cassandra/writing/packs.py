"""Fills a packed table: rows that follow each other become one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from insitu.databases.cassandra.packing import Packing, pack
from insitu.databases.cassandra.writing.writer import CassandraWriter
from insitu.errors import ConfigurationError


class PackWriter:
    """Packs what a `CassandraWriter` then writes. The same rows again replace their packs."""

    def __init__(self, writer: CassandraWriter, packing: Packing, number: str) -> None:
        """`number` is the column that numbers the rows of the whole load, from 0."""
        self._writer = writer
        self._packing = packing
        self._number = number

    def write(self, batch: pa.RecordBatch) -> None:
        """As `CassandraWriter.write`.

        Raises:
            ConfigurationError: the batch is no run of whole packs; only the last may be shorter.
            UnsupportedType: a value is null.
        """
        if not batch.schema.equals(self._packing.schema):
            raise ConfigurationError(
                f"the writer takes rows of {self._packing.schema}, not {batch.schema}"
            )
        if not batch.num_rows:
            return
        numbers = batch.column(self._number).to_numpy(zero_copy_only=False)
        first, size = int(numbers[0]), self._packing.size
        expected = np.arange(first, first + batch.num_rows)
        if first % size or not np.array_equal(numbers, expected):
            raise ConfigurationError(
                f"to be packed, rows have to be numbered 0, 1, 2, ... in column '{self._number}'"
                " in the order of the files: leave --key out, and they will be"
            )
        self._writer.write(pack(self._packing, batch, first // size))

    def close(self) -> None:
        self._writer.close()


def pack_size(options: Mapping[str, str]) -> int | None:
    """Samples a row; None where each row is a sample.

    Raises:
        ConfigurationError: `pack` is no number above 1.
    """
    asked = options.get("pack")
    if asked is None:
        return None
    if not asked.isdecimal() or int(asked) < 2:
        raise ConfigurationError(
            f"pack {asked}: write how many samples a row has to hold, 2 or more"
        )
    return int(asked)
