"""A batch of rows whose columns are tensors."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from insitu.columns import Shape, dense, no_nulls
from insitu.errors import ConfigurationError, UnsupportedType, nearest

#: Torch has these only to hold them: arithmetic wants the next wider signed type.
_WIDER = {pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}


class Batch:
    """This rank's rows of one step; there may be none, with the columns' right shapes.

    `batch["pixels"]` is a tensor of shape (rows, ...). It shares memory with `batch.arrow` where
    the column is numbers or lists of them, so write to a clone.

    Attributes:
        arrow: The rows as they came, for strings, dates and whatever else is no tensor.
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
        shapes: Mapping[str, Shape] | None = None,
    ) -> None:
        self.arrow = arrow
        self.rows = int(arrow.num_rows)
        self.rows_global = rows_global
        self.epoch = epoch
        self.step = step
        self._shapes = shapes or {}

    def __getitem__(self, column: str) -> Tensor:
        return self.tensor(column)

    def __len__(self) -> int:
        return self.rows

    def tensor(self, column: str, *, nulls_as_nan: bool = False) -> Tensor:
        """The column as a tensor of shape (rows, ...).

        uint16 and uint32 become the next wider signed type, and uint64 int64.

        Args:
            column: Its name.
            nulls_as_nan: Take NaN for null in a column of floats.

        Raises:
            ConfigurationError: there is no such column.
            UnsupportedType: there are nulls, or the values have no rectangular form.
        """
        names = self.arrow.schema.names
        if column not in names:
            raise ConfigurationError(f"no column '{column}' is read{nearest(column, names)}")
        values, shape = dense(column, self.arrow.column(column), self._shapes.get(column))
        values = _without_nulls(column, values, nulls_as_nan)
        return _flat(column, values).reshape(self.rows, *shape)


def _without_nulls(column: str, values: pa.Array, nulls_as_nan: bool) -> pa.Array:
    if not values.null_count:
        return values
    if nulls_as_nan and pa.types.is_floating(values.type):
        return pc.fill_null(values, pa.scalar(float("nan"), values.type))
    way = no_nulls(column)
    if pa.types.is_floating(values.type):
        way = f"batch.tensor('{column}', nulls_as_nan=True) takes NaN for them; or {way}"
    raise UnsupportedType(column, f"{values.null_count} of {len(values)} values are null: {way}")


def _flat(column: str, values: pa.Array) -> Tensor:
    if pa.types.is_boolean(values.type):
        return _shared(values.cast(pa.uint8())).bool()
    if wider := _WIDER.get(values.type):
        try:
            return _shared(values.cast(wider))
        except pa.ArrowInvalid as error:
            raise UnsupportedType(column, f"a value does not fit into {wider}") from error
    return _shared(values)


def _shared(values: pa.Array) -> Tensor:
    tensor: Tensor = from_dlpack(values)
    return tensor
