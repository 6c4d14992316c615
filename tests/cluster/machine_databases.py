"""`python -m tests.cluster.machine_databases`: the operator, as it is but for its databases.

The database of a job has a node on each machine that its `endpoints` name, called like the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from insitu.databases import Database, DataSource, Reader, ReadLimits, Writer, ignite
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId, Topology
from insitu_operator.shell.main import main

if TYPE_CHECKING:
    import pyarrow as pa

SHARDS = 1024
"""As many partitions as a cache of Ignite has when nobody says otherwise."""

ROWS = 10

#: Loaded as it would be for a real one, and takes up as much memory.
_DRIVER = ignite


@dataclass(frozen=True)
class MachineDatabase:
    """A database that only says who owns what, and is always at rest."""

    machines: Sequence[str]

    def check(self) -> None: ...

    def schema(self) -> pa.Schema:
        raise NotImplementedError

    def topology(self) -> Topology:
        """Each shard has a primary and, where there are two machines, a backup."""
        names = [NodeId(name) for name in self.machines]
        copies = min(2, len(names))
        return Topology(
            nodes=tuple(DatabaseNode(name, name, 10800) for name in names),
            shards=tuple(
                Shard(
                    ShardId(str(number)),
                    tuple(names[(number + copy) % len(names)] for copy in range(copies)),
                    ROWS,
                )
                for number in range(SHARDS)
            ),
            version="1",
            rows=SHARDS * ROWS,
            weights_exact=True,
        )

    def count(self) -> int | None:
        return SHARDS * ROWS

    def reader(self, node: DatabaseNode, limits: ReadLimits = ReadLimits()) -> Reader:  # noqa: B008
        raise NotImplementedError

    def writer(
        self, schema: pa.Schema, *, key: Sequence[str], options: Mapping[str, str] | None = None
    ) -> Writer:
        raise NotImplementedError

    def close(self) -> None: ...


def opened(source: DataSource) -> Database:
    return MachineDatabase([host for host, _port in source.endpoints])


if __name__ == "__main__":
    main(opened)
