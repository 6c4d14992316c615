"""A table in memory as a database: real readers over real Arrow batches, nodes that can go away."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from insitu.databases import (
    DataSource,
    ReadCounters,
    Reader,
    ReadLimits,
    RowKeys,
    RowPosition,
    ShardStream,
    Writer,
)
from insitu.errors import DatabaseUnavailable, NotOwner
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId, Topology
from tests.keys import NumberKeys

PAGE_ROWS = 7


@dataclass
class MemoryDatabase:
    """`shards` are tables of one schema; `owners` are all nodes where a shard is not named.

    `lose_after[node]` counts the pages a node still gives before it goes away. Without `counts` it
    can't tell how many rows there are, as Cassandra can't.
    """

    shards: MutableMapping[ShardId, pa.Table]
    nodes: Sequence[NodeId] = (NodeId("a"),)
    owners: Mapping[ShardId, Sequence[NodeId]] = field(default_factory=dict)
    lose_after: dict[NodeId, int] = field(default_factory=dict)
    counts: bool = True
    closed: bool = False
    limits: list[ReadLimits] = field(default_factory=list)

    def check(self) -> None: ...

    def schema(self) -> pa.Schema:
        schema: pa.Schema = next(iter(self.shards.values())).schema
        return schema

    def topology(self) -> Topology:
        nodes = tuple(DatabaseNode(n, "127.0.0.1", 1) for n in self.nodes if self.alive(n))
        shards = tuple(
            Shard(s, tuple(self.owners_of(s)), table.num_rows) for s, table in self.shards.items()
        )
        return Topology(nodes, shards, "1", rows=self.count())

    def count(self) -> int | None:
        return sum(table.num_rows for table in self.shards.values()) if self.counts else None

    def reader(self, node: DatabaseNode, limits: ReadLimits = ReadLimits()) -> Reader:  # noqa: B008
        self.limits.append(limits)
        return MemoryReader(self, node.id)

    def writer(
        self, schema: pa.Schema, *, key: Sequence[str], options: Mapping[str, str] | None = None
    ) -> Writer:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True

    def alive(self, node: NodeId) -> bool:
        return self.lose_after.get(node, 1) > 0

    def owners_of(self, shard: ShardId) -> Sequence[NodeId]:
        return self.owners.get(shard, self.nodes)


class MemoryReader:
    """One node's copies."""

    def __init__(self, database: MemoryDatabase, node: NodeId) -> None:
        self.counters = ReadCounters()
        self.database = database
        self.node = node

    @property
    def schema(self) -> pa.Schema:
        return self.database.schema()

    def open(self, shard: ShardId, start: RowPosition | None = None) -> ShardStream:
        if self.node not in self.database.owners_of(shard):
            raise NotOwner(f"node {self.node} holds no copy of shard {shard}")
        return MemoryStream(self, shard, start)

    def close(self) -> None:
        pass


@dataclass
class MemoryStream:
    reader: MemoryReader
    shard: ShardId
    start: RowPosition | None
    numbers: Sequence[int] = ()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        database, node = self.reader.database, self.reader.node
        rows = database.shards[self.shard]
        numbers = rows["id"].to_pylist() if "id" in rows.schema.names else list(range(len(rows)))
        first = 0 if self.start is None else bisect.bisect_left(numbers, self.start.number)
        for batch in rows.slice(first).combine_chunks().to_batches(PAGE_ROWS):
            self.numbers, first = numbers[first : first + len(batch)], first + len(batch)
            if not database.alive(node):
                raise DatabaseUnavailable(f"node {node} went away")
            if node in database.lose_after:
                database.lose_after[node] -= 1
            self.reader.counters.rows += batch.num_rows
            self.reader.counters.bytes += batch.nbytes
            yield batch

    def keys(self) -> RowKeys:
        """Rows lie in the order of their ids, or where there are none in the table's."""
        return NumberKeys(self.numbers)

    def close(self) -> None:
        pass


def save(tables: Sequence[pa.Table], path: Path) -> DataSource:
    """Puts tables with a column `shard` where `open_database` finds them."""
    table = pa.concat_tables(tables)
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    return DataSource("memory", (("127.0.0.1", 1),), str(path))


def open_database(source: DataSource) -> MemoryDatabase:
    """The table that `save` wrote, by its column `shard`."""
    with pa.OSFile(source.table) as file:
        table = pa.ipc.open_file(file).read_all()
    numbers = sorted(set(table["shard"].to_pylist()))
    rest = table.drop_columns(["shard"])
    return MemoryDatabase(
        {ShardId(str(n)): rest.filter(pc.equal(table["shard"], n)) for n in numbers}
    )
