"""Whether the key columns of a file give every row a key of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from insitu.errors import ConfigurationError, nearest

_SHOWN = 3


def check_names(key: Sequence[str], schema: pa.Schema) -> None:
    """Raises `ConfigurationError` for a key column that is not there, with the nearest name."""
    for name in key:
        if name not in schema.names:
            raise ConfigurationError(
                f"--key {name}: the files have no such column{nearest(name, schema.names)}"
            )


def check_values(keys: pa.Table) -> None:
    """Raises `ConfigurationError` when a row of `keys` has a null, or is there twice."""
    named = ", ".join(keys.column_names)
    for name in keys.column_names:
        if nulls := keys.column(name).null_count:
            raise ConfigurationError(
                f"--key {name}: {nulls:,} of {keys.num_rows:,} rows have no value there; "
                "choose a column without nulls, or leave --key out to number the rows"
            )
    counted = keys.group_by(keys.column_names).aggregate([([], "count_all")])
    if counted.num_rows == keys.num_rows:
        return
    repeated = counted.filter(pa.compute.greater(counted.column("count_all"), 1))
    examples = ", ".join(
        "/".join(str(row[name]) for name in keys.column_names)
        for row in repeated.slice(0, _SHOWN).to_pylist()
    )
    raise ConfigurationError(
        f"--key {named}: {repeated.num_rows:,} values are in more than one row ({examples}); rows "
        "with the same key would replace each other: add a column to the key, or leave --key out "
        "to number the rows"
    )
