"""Files of rows as Arrow: Parquet, CSV and NumPy's npz, read in batches of bounded size."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from insitu.errors import ConfigurationError, UnsupportedType

_BATCH_ROWS = 8192
_BATCH_BYTES = 16 << 20
_SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".npz": "npz"}


Read = Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
"""All rows from the start, of the columns named, in batches of bounded size."""


@dataclass(frozen=True)
class Rows:
    """What the files hold. `count` is None where only reading them tells; `notes` are for the user.

    `read` raises `ConfigurationError` when a file turns out to be broken in the middle.
    """

    schema: pa.Schema
    count: int | None
    read: Read
    notes: tuple[str, ...] = ()


def open_files(paths: Sequence[Path]) -> Rows:
    """All rows of `paths`, one file after the other.

    Raises:
        ConfigurationError: a file is missing, of an unknown kind, broken, or the files differ in
            kind or columns.
    """
    kinds = {path: _kind(path) for path in paths}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{path.name} is {kind}" for path, kind in kinds.items())
        raise ConfigurationError(f"all files of one load have to be of one kind: {listed}")
    kind = kinds[paths[0]]
    parts = [_open_npz(path) if kind == "npz" else _open_dataset(path, kind) for path in paths]
    schema = parts[0].schema
    for path, part in zip(paths, parts, strict=True):
        if not part.schema.equals(schema):
            raise ConfigurationError(
                f"{path} has other columns than {paths[0]}: {_difference(part.schema, schema)}"
            )
    counts = [part.count for part in parts]

    def read(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for part in parts:
            yield from part.read(columns)

    return Rows(
        schema,
        None if None in counts else sum(count for count in counts if count is not None),
        read,
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def numbered(rows: Rows, name: str) -> Rows:
    """The same rows with their number, from 0, as an int64 column in front."""

    def read(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in rows.read([column for column in columns if column != name]):
            number = pa.array(np.arange(start, start + batch.num_rows))
            start += batch.num_rows
            full = pa.RecordBatch.from_arrays([number, *batch.columns], [name, *batch.schema.names])
            yield full.select(columns)

    schema = rows.schema.insert(0, pa.field(name, pa.int64()))
    return Rows(schema, rows.count, read, rows.notes)


def in_runs(rows: Rows, size: int) -> Rows:
    """The same rows in batches of a multiple of `size` rows; the last may be shorter."""

    def read(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([rows.schema.field(name) for name in columns])
        rest = pa.Table.from_batches([], schema)
        for batch in rows.read(columns):
            rest = pa.concat_tables([rest, pa.Table.from_batches([batch], schema)])
            if whole := rest.num_rows // size * size:
                yield from rest.slice(0, whole).combine_chunks().to_batches()
                rest = rest.slice(whole)
        yield from rest.combine_chunks().to_batches()

    return Rows(rows.schema, rows.count, read, rows.notes)


def _kind(path: Path) -> str:
    if not path.exists():
        raise ConfigurationError(f"there is no file {path}")
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; name the files in it")
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ConfigurationError(
            f"{path}: what it holds can't be told by its name; rename it to end in "
            f"{', '.join(_SUFFIXES)}"
        )
    return kind


def _open_dataset(path: Path, kind: str) -> Rows:
    try:
        dataset = ds.dataset(path, format=kind)
        count = dataset.count_rows() if kind == "parquet" else None
    except (pa.ArrowInvalid, OSError) as error:
        raise ConfigurationError(f"{path} can't be read as {kind}: {_first_line(error)}") from error
    schema = dataset.schema.remove_metadata()

    def read(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        try:
            for batch in dataset.to_batches(columns=list(columns), batch_size=_BATCH_ROWS):
                if batch.num_rows:
                    yield batch.replace_schema_metadata(None)
        except (pa.ArrowInvalid, OSError) as error:
            raise ConfigurationError(
                f"{path} can't be read as {kind}: {_first_line(error)}"
            ) from error

    return Rows(schema, count, read)


def _open_npz(path: Path) -> Rows:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"{path} can't be read as npz: {_first_line(error)}") from error
    if not arrays:
        raise ConfigurationError(f"{path} holds no array")
    sizes = {name: array.shape[0] if array.ndim else None for name, array in arrays.items()}
    if len(set(sizes.values())) > 1 or None in sizes.values():
        listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ConfigurationError(
            f"{path}: arrays become columns, so all need the same first dimension: {listed}"
        )
    first = next(iter(arrays.values()))
    count = int(first.shape[0])
    schema = pa.schema([(name, _column(name, array[:0]).type) for name, array in arrays.items()])
    width = sum(array.nbytes for array in arrays.values()) // max(count, 1) or 1
    step = max(1, min(_BATCH_ROWS, _BATCH_BYTES // width))

    def read(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for start in range(0, count, step):
            taken = [_column(name, arrays[name][start : start + step]) for name in columns]
            yield pa.RecordBatch.from_arrays(taken, list(columns))

    return Rows(schema, count, read, tuple(_flattened(arrays)))


def _column(name: str, array: npt.NDArray[np.generic]) -> pa.Array:
    """One value a row; arrays of more dimensions become one flat list a row."""
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    try:
        if native.ndim == 1:
            return pa.array(native)
        size = int(np.prod(native.shape[1:]))
        return pa.FixedSizeListArray.from_arrays(pa.array(native.reshape(-1)), size)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UnsupportedType(name, f"an array of {array.dtype} has no Arrow type") from error


def _flattened(arrays: dict[str, npt.NDArray[np.generic]]) -> Iterator[str]:
    for name, array in arrays.items():
        if array.ndim > 2:
            shape = " x ".join(map(str, array.shape[1:]))
            yield f"column {name}: {shape} values a row are stored as one flat list, in C order"


def _difference(found: pa.Schema, wanted: pa.Schema) -> str:
    for field in wanted:
        index = found.get_field_index(field.name)
        if index < 0:
            return f"'{field.name}' is missing"
        if found.field(index).type != field.type:
            return f"'{field.name}' is {found.field(index).type}, not {field.type}"
    extra = [name for name in found.names if name not in wanted.names]
    return f"'{extra[0]}' is new" if extra else "they come in another order"


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
