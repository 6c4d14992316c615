"""A list of every row that enters a step, for tests that count them. Never on by default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import pyarrow as pa

from insitu.errors import ConfigurationError, nearest


class AuditLog:
    """JSON lines of `{generation, epoch, step, rank, keys}`, one file a rank and generation.

    Each line is written and flushed before the step's rows become part of the parameters, so a
    killed process can have named too many rows, of steps that were never committed, but none too
    few.
    """

    def __init__(self, folder: Path, column: str, generation: int, rank: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._column = column
        self._generation = generation
        self._rank = rank
        path = folder / f"generation-{generation}-rank-{rank}.jsonl"
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, epoch: int, step: int, table: pa.RecordBatch) -> None:
        """Rows of `table` enter update number `step` (the first is 1).

        Raises:
            ConfigurationError: the table has no such column.
        """
        if self._column not in table.schema.names:
            raise ConfigurationError(
                f"the audit column '{self._column}' is none of the columns that are read"
                f"{nearest(self._column, table.schema.names)}"
            )
        line = {
            "generation": self._generation,
            "epoch": epoch,
            "step": step,
            "rank": self._rank,
            "keys": table.column(self._column).to_pylist(),
        }
        self._file.write(json.dumps(line, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
