"""How each database's variables are called, and how its shards are written in one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from insitu.contract.ranges import format_ranges, parse_ranges
from insitu.databases import Credentials, DataSource
from insitu.topology import DatabaseNode, ShardId


@dataclass(frozen=True, slots=True)
class Names:
    """The variables of one database: `prefix` and one of the names below.

    `table` are the names whose values, joined by dots, are `DataSource.table`. `parse` gives None
    for all shards and raises ValueError for what it can't read. `options` are those of
    `DataSource.options`, in capitals.
    """

    kind: str
    prefix: str
    port: int
    table: tuple[str, ...]
    shards: str
    format: Callable[[Sequence[ShardId]], str]
    parse: Callable[[str], tuple[ShardId, ...] | None]
    options: tuple[str, ...] = ()

    def __call__(self, name: str) -> str:
        """The full name of a variable."""
        return self.prefix + name

    @staticmethod
    def word(name: str) -> str:
        """What stands for a value in messages: `cache` for CACHE_NAME."""
        return name.removesuffix("_NAME").lower()


def _format_partitions(shards: Sequence[ShardId]) -> str:
    return format_ranges(int(shard) for shard in shards)


def _parse_partitions(text: str) -> tuple[ShardId, ...] | None:
    numbers = parse_ranges(text)
    return None if numbers is None else tuple(ShardId(str(number)) for number in numbers)


IGNITE = Names(
    kind="ignite",
    prefix="IGNITE_DATASET_",
    port=10800,
    table=("CACHE_NAME",),
    shards="PART",
    format=_format_partitions,
    parse=_parse_partitions,
)

_TOKEN_RANGE = re.compile(r"-?\d{1,19}:-?\d{1,19}", re.ASCII)


def _parse_token_ranges(text: str) -> tuple[ShardId, ...] | None:
    if text.strip() == "-1":
        return None
    ranges = [part.strip() for part in text.split(",")]
    for part in ranges:
        if not _TOKEN_RANGE.fullmatch(part):
            raise ValueError(f"'{part}' is no range of tokens, as in -5:10")
    return tuple(map(ShardId, ranges))


CASSANDRA = Names(
    kind="cassandra",
    prefix="CASSANDRA_DATASET_",
    port=9042,
    table=("KEYSPACE", "TABLE"),
    shards="TOKEN_RANGES",
    format=",".join,
    parse=_parse_token_ranges,
    options=("DATACENTER", "WHERE"),
)

ALL: Mapping[str, Names] = {names.kind: names for names in (IGNITE, CASSANDRA)}


def variables(
    names: Names,
    source: DataSource,
    node: DatabaseNode,
    shards: Sequence[ShardId],
    *,
    local: bool,
) -> dict[str, str]:
    """The short form of a source, the node to read it from, and the shards to read."""
    values: dict[str, str | None] = {
        "HOST": node.host,
        "PORT": str(node.port),
        "LOCAL": "true" if local else None,
        names.shards: names.format(shards),
    }
    values |= zip(names.table, source.table.split(".", len(names.table) - 1), strict=True)
    values |= {option: source.options.get(option.lower()) for option in names.options}
    values |= _secrets(source.credentials)
    if tls := source.tls:
        values |= {
            "CAFILE": str(tls.ca) if tls.ca else None,
            "CERTFILE": str(tls.certificate) if tls.certificate else None,
            "KEYFILE": str(tls.key) if tls.key else None,
            "CERT_PASSWORD": tls.key_password,
        }
    return {names(name): value for name, value in values.items() if value is not None}


def _secrets(credentials: Credentials | None) -> dict[str, str]:
    if credentials is None:
        return {}
    return {"USERNAME": credentials.username, "PASSWORD": credentials.password}
