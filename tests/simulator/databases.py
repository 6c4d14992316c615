"""Database nodes that say who owns what, read once a second by whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta

from insitu.api import Data
from insitu.databases import DataSource
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId, Topology
from insitu_operator.core.observed import Reading
from insitu_operator.shell.databases.polling import Look
from insitu_operator.shell.key import Key
from insitu_operator.shell.queueing.queue import Queue
from tests.simulator.store import BEGINNING

EVERY_SECONDS = 1.0
FIRST_SECONDS = 0.1
SHARDS = 6
COPIES = 2
PORT = 10800


def address(node: int) -> str:
    """Of a machine, and of the database node on it."""
    return f"10.0.{node // 250}.{node % 250 + 1}"


def topology(all_nodes: Iterable[int], alive: Iterable[int], shards: int = SHARDS) -> Topology:
    """Shard s is on the node number s of all nodes and on the next one, as far as they live."""
    numbers, living = tuple(all_nodes), set(alive)
    return Topology(
        nodes=tuple(
            DatabaseNode(NodeId(f"db{n}"), address(n), PORT) for n in numbers if n in living
        ),
        shards=tuple(
            Shard(
                ShardId(str(s)),
                tuple(
                    NodeId(f"db{n}")
                    for k in range(min(COPIES, len(numbers)))
                    if (n := numbers[(s + k) % len(numbers)]) in living
                ),
                weight=10,
            )
            for s in range(shards)
        ),
        version=",".join(map(str, sorted(living))),
        rows=shards * 10,
        weights_exact=True,
    )


class Databases:
    """In place of the operator's own pollers, which read in threads. For one process.

    Args:
        read: The topology of a table by its name.
        queue: Where jobs are marked.
        clock: Seconds.
    """

    def __init__(
        self, read: Callable[[str], Topology], queue: Queue, clock: Callable[[], float]
    ) -> None:
        self._read = read
        self._queue = queue
        self._clock = clock
        self._looks: dict[Key, Look] = {}
        self._tables: dict[Key, str] = {}

    async def run(self) -> None:
        """Reads for ever."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            for key in list(self._tables):
                self._poll(key)

    def look(self, key: Key, data: Data) -> Look:
        if key not in self._tables:
            assert data.ignite is not None
            self._tables[key] = data.ignite.cache
            asyncio.get_running_loop().call_later(FIRST_SECONDS, self._poll, key)
        return self._looks.get(key, Look())

    def source(self, key: Key) -> DataSource | None:
        table = self._tables.get(key)
        if table is None or key not in self._looks:
            return None
        return DataSource("ignite", ((address(0), PORT),), table)

    def release(self, key: Key) -> None:
        self._tables.pop(key, None)
        self._looks.pop(key, None)

    def _poll(self, key: Key) -> None:
        table = self._tables.get(key)
        if table is None:
            return
        before = self._looks.get(key, Look()).reading
        found = self._read(table)
        at = BEGINNING + timedelta(seconds=self._clock())
        self._looks[key] = Look(Reading(found, at))
        if before is None or before.topology != found:
            self._queue.add(key, urgent=True)
