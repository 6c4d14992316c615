"""A database that only says who owns what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from insitu.databases import Database, DataSource, Reader, ReadLimits, Writer
from insitu.errors import InsituError
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId, Topology


def topology(addresses: Sequence[str], version: str = "1", shards: int = 12) -> Topology:
    """A database node at each address, `db-0` and so on; each shard is on one of them."""
    nodes = tuple(
        DatabaseNode(NodeId(f"db-{number}"), address, 10800)
        for number, address in enumerate(addresses)
    )
    return Topology(
        nodes=nodes,
        shards=tuple(
            Shard(ShardId(str(number)), (nodes[number % len(nodes)].id,), weight=10)
            for number in range(shards)
        ),
        version=version,
        rows=10 * shards,
        weights_exact=True,
    )


@dataclass
class FixedDatabase:
    """Answers with `found`, or refuses with `error`; each opening is noted."""

    found: Topology
    error: InsituError | None = None
    opened: list[DataSource] = field(default_factory=list)

    def open(self, source: DataSource) -> Database:
        self.opened.append(source)
        return self

    def check(self) -> None: ...

    def schema(self) -> pa.Schema:
        return pa.schema({"id": pa.int64()})

    def topology(self) -> Topology:
        if self.error:
            raise self.error
        return self.found

    def count(self) -> int | None:
        return self.found.rows

    def reader(self, node: DatabaseNode, limits: ReadLimits = ReadLimits()) -> Reader:  # noqa: B008
        raise NotImplementedError

    def writer(
        self, schema: pa.Schema, *, key: Sequence[str], options: Mapping[str, str] | None = None
    ) -> Writer:
        raise NotImplementedError

    def close(self) -> None: ...
