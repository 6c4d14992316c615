"""What jobs can train on: either database, as one StatefulSet, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from insitu.contract.names import ALL, Names
from insitu.databases import DataSource, connect
from testbed.cluster import Image, cassandra, ignite
from testbed.cluster.stateful_sets import Pod

Json = dict[str, Any]


class Database(Protocol):
    """Pods beside which a job's trainers are to run; see `testbed.cluster`."""

    @property
    def namespace(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def pods(self) -> list[Pod]: ...
    def source(self, table: str) -> DataSource: ...
    def delete(self, pod: str) -> None: ...
    def wait_settled(self, timeout: float = ...) -> None: ...


@dataclass(frozen=True)
class Kind:
    """One of them, and how it calls things. Its Service is called as it is.

    Args:
        names: Of the variables that its trainers are told.
        image: Of its pods.
        start: In a cluster, in a namespace; returns when it is ready.
        described: A table, as `spec.data` names it.
        qualified: A table, as a `DataSource` names it.
        copies: Options of a new table of which there are so many copies.
    """

    names: Names
    image: Callable[[], Image]
    start: Callable[..., Database]
    described: Callable[[str], Json]
    qualified: Callable[[str], str]
    copies: Callable[[int], dict[str, str]]

    @property
    def name(self) -> str:
        return self.names.kind

    def data(self, service: str, table: str, **reach: Any) -> Json:
        """`spec.data`."""
        named = {"name": service, "port": self.names.port}
        return {self.name: {"service": named, **self.described(table), **reach}}

    def fill(self, database: Database, table: str, rows: int, *, copies: int = 2) -> None:
        """A table of `rows` rows: id int64 from 0, x float32."""
        self.fill_with(database, table, rows, self.copies(copies))

    def fill_with(self, database: Database, table: str, rows: int, options: dict[str, str]) -> None:
        """The same, with options of the database's own."""
        ids = pa.array(range(rows), pa.int64())
        batch = pa.record_batch({"id": ids, "x": ids.cast(pa.float32())})
        with (
            closing(connect(database.source(self.qualified(table)))) as source,
            closing(source.writer(batch.schema, key=["id"], options=options)) as writer,
        ):
            writer.write(batch)


IGNITE = Kind(
    names=ALL["ignite"],
    image=ignite.image,
    start=ignite.start,
    described=lambda table: {"cache": table},
    qualified=lambda table: table,
    copies=lambda copies: {"template": "p64", "backups": str(copies - 1)},
)

# Each table has a keyspace of its own, and with it its own number of copies.
CASSANDRA = Kind(
    names=ALL["cassandra"],
    image=cassandra.image,
    start=cassandra.start,
    described=lambda table: {"keyspace": table, "table": table},
    qualified=lambda table: f"{table}.{table}",
    # Any replica may be read next.
    copies=lambda copies: {"replicas": str(copies), "consistency": "ALL"},
)

KINDS = {kind.name: kind for kind in (IGNITE, CASSANDRA)}
