"""A batch of rows whose columns are tensors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa

from insitu.errors import ConfigurationError, nearest
from insitu.tensorflow.flat import arrays
from insitu.tensorflow.leaves import leaves
from insitu.tensorflow.pipeline import element_spec, nest, tensors
from insitu.tensorflow.reading import Leaf, Reading, Shape
from insitu.tensorflow.walk import is_list


class Batch:
    """This rank's rows of one step; there may be none, with the columns' right shapes.

    `batch["pixels"]` is a tensor of shape (rows, ...), or a dictionary of them for a struct.

    Attributes:
        arrow: The rows as they came.
        rows: This rank's rows of the step.
        rows_global: Rows of the step over all ranks, never 0.
        epoch: Passes over the data before this one.
        step: Number of the optimizer update these rows are for; the job's first is 1.
    """

    def __init__(
        self,
        arrow: pa.RecordBatch,
        rows_global: int,
        epoch: int,
        step: int,
        form: Form,
    ) -> None:
        self.arrow = arrow
        self.rows = int(arrow.num_rows)
        self.rows_global = rows_global
        self.epoch = epoch
        self.step = step
        self._form = form

    @cached_property
    def columns(self) -> dict[str, Any]:
        """All columns."""
        return self._form(self.arrow)

    def __getitem__(self, column: str) -> Any:
        if column not in self.columns:
            raise ConfigurationError(f"no column '{column}' is read{nearest(column, self.columns)}")
        return self.columns[column]

    def __len__(self) -> int:
        return self.rows


class Form:
    """How rows of a schema become tensors, the same for all batches of all ranks.

    Args:
        schema: Of all batches.
        shapes: Of a row of each column, as all ranks know them.
        reading: What was asked for.

    Raises:
        UnsupportedType, ConfigurationError: see `leaves`.
    """

    def __init__(self, schema: pa.Schema, shapes: Mapping[str, Shape], reading: Reading) -> None:
        known = {
            field.name: shape
            for field in schema
            if (shape := shapes.get(field.name)) and len(shape) == _levels(field.type)
        }
        self._reading = Reading({**known, **reading.shapes}, reading.cast, reading.nulls)
        self._leaves: list[Leaf] = leaves(schema, self._reading, None)

    @property
    def spec(self) -> Any:
        """The type of `columns`."""
        return element_spec(self._leaves)

    def __call__(self, rows: pa.RecordBatch) -> dict[str, Any]:
        found = tensors(arrays(rows, self._leaves, self._reading), self._leaves)
        return nest((leaf.path for leaf in self._leaves), found)


def _levels(kind: pa.DataType) -> int:
    """Lists in lists."""
    return 1 + _levels(kind.value_type) if is_list(kind) else 0
