"""Which database node each shard of a rank is read from, and what is counted as local.

`Required` reads from the rank's own node and from no other. `Preferred` and `Ignored` take a
shard that the own node holds no copy of from the first owner there is, and go on with the next
owner where one goes away: every owner yields a shard's rows in the same order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from insitu.contract import Assignment
from insitu.databases import KeysAfter, ReadCounters, Reader, RowKeys, RowPosition, ShardStream
from insitu.errors import DatabaseUnavailable, NotOwner
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId


@dataclass(frozen=True, slots=True)
class Share:
    """Rows and bytes a rank has taken from its own database node, and from others."""

    rows_local: int = 0
    rows_remote: int = 0
    bytes_local: int = 0
    bytes_remote: int = 0


class LocalFirst:
    """A `Reader` over several database nodes: one for each, opened when it is first needed.

    Args:
        assignment: Whose shards are read, by which locality.
        open_reader: Makes a reader that is pinned to a node.

    Raises:
        NotOwner: locality is Required and the rank's own node holds no copy of a shard.
    """

    def __init__(
        self, assignment: Assignment, open_reader: Callable[[DatabaseNode], Reader]
    ) -> None:
        if assignment.locality == "Required" and assignment.remote:
            shard = assignment.remote[0]
            raise NotOwner(
                f"database node {assignment.node.id} holds no readable copy of shard {shard.id} "
                f"(its owners: {', '.join(shard.owners) or 'none'}), and locality is Required"
            )
        self.counters = ReadCounters()
        self._home = assignment.node
        self._strict = assignment.locality == "Required"
        self._shards = {shard.id: shard for shard in assignment.shards}
        self._nodes = {node.id: node for node in assignment.nodes} | {self._home.id: self._home}
        self._open = open_reader
        self._readers: dict[NodeId, Reader] = {}
        self._lost: dict[NodeId, str] = {}
        self._moved: dict[tuple[NodeId, ShardId], str] = {}
        self._lock = threading.Lock()

    @property
    def schema(self) -> pa.Schema:
        """Of the own node, or of the first other one where that is gone and may be."""
        candidates = [self._home]
        if not self._strict:
            candidates += [node for node in self._nodes.values() if node != self._home]
        for node in candidates[:-1]:
            try:
                return self.reader(node).schema
            except DatabaseUnavailable as error:
                self._lost[node.id] = str(error)
        return self.reader(candidates[-1]).schema

    @property
    def share(self) -> Share:
        """What was taken so far, by where it came from."""
        local, remote = ReadCounters(), ReadCounters()
        with self._lock:
            readers = list(self._readers.items())
        for node, reader in readers:
            side = local if node == self._home.id else remote
            side.rows += reader.counters.rows
            side.bytes += reader.counters.bytes
        return Share(local.rows, remote.rows, local.bytes, remote.bytes)

    def open(self, shard: ShardId, start: RowPosition | None = None) -> ShardStream:
        whole = self._shards[shard]
        return _Parts(self, whole, start) if whole.parts else _Stream(self, whole, start)

    def close(self) -> None:
        with self._lock:
            readers = list(self._readers.values())
            self._readers.clear()
        for reader in readers:
            reader.close()

    def reader(self, node: DatabaseNode) -> Reader:
        """The one reader of `node`."""
        with self._lock:
            if node.id not in self._readers:
                self._readers[node.id] = self._open(node)
            return self._readers[node.id]

    def source(self, shard: Shard) -> DatabaseNode:
        """Where to read `shard` now.

        Raises:
            DatabaseUnavailable: every node that had a copy went away or gave it up.
            NotOwner: no live node has a copy.
        """
        home = self._home.id
        owners = sorted(shard.owners, key=lambda owner: owner != home)  # stable: primary first
        known = [self._nodes[owner] for owner in owners if owner in self._nodes]
        if not known:
            raise NotOwner(
                f"none of the live database nodes holds shard {shard.id} "
                f"(its owners: {', '.join(shard.owners) or 'none'})"
            )
        for node in known:
            if node.id not in self._lost and (node.id, shard.id) not in self._moved:
                return node
        why = "; ".join(self._lost.get(node.id) or self._moved[node.id, shard.id] for node in known)
        raise DatabaseUnavailable(f"no owner of shard {shard.id} can be read any more: {why}")

    def lose(self, node: DatabaseNode, shard: Shard, error: Exception) -> None:
        """Reads nothing more from `node`, or, where only that has moved, not this shard.

        Raises `error` again where locality leaves no other node to read from.
        """
        if self._strict:
            raise error
        if isinstance(error, NotOwner):
            self._moved[node.id, shard.id] = str(error)
        else:
            self._lost[node.id] = str(error)


class _Stream:
    """One shard, from whichever owner is there; remembers the last row that it gave."""

    def __init__(self, readers: LocalFirst, shard: Shard, start: RowPosition | None) -> None:
        self._readers = readers
        self._shard = shard
        self._start = start
        self._given: tuple[RowKeys, int] | None = None
        self._closed = False
        self._node, self._inner = self._next()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        before: RowPosition | None = None
        while True:
            try:
                for batch in self._inner:
                    keys = self._inner.keys()
                    # Another owner begins with the row that was given last, if it is still there.
                    done = keys.up_to(before) if before is not None and batch.num_rows else 0
                    if done < batch.num_rows:
                        before = None
                        self._given = KeysAfter(keys, done) if done else keys, batch.num_rows - done
                        yield batch.slice(done)
            except (DatabaseUnavailable, NotOwner) as error:
                self._inner.close()
                self._readers.lose(self._node, self._shard, error)
                if self._closed:
                    return
                if self._given is not None:
                    keys, rows = self._given
                    before = self._start = keys.position(rows - 1)
                self._node, self._inner = self._next()
            else:
                return

    def keys(self) -> RowKeys:
        assert self._given is not None, "no batch was given yet"
        return self._given[0]

    def close(self) -> None:
        self._closed = True
        self._inner.close()

    def _next(self) -> tuple[DatabaseNode, ShardStream]:
        while True:
            node = self._readers.source(self._shard)
            try:
                return node, self._readers.reader(node).open(self._shard.id, self._start)
            except (DatabaseUnavailable, NotOwner) as error:
                self._readers.lose(node, self._shard, error)


class _Parts:
    """A shard that no node holds all of: its parts one after the other, each from its own owner."""

    def __init__(self, readers: LocalFirst, shard: Shard, start: RowPosition | None) -> None:
        # All at once, so that the parts to come are fetched ahead.
        self._streams = [_Stream(readers, part, start) for part in shard.parts]
        self._current = self._streams[0]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for stream in self._streams:
            self._current = stream
            yield from stream

    def keys(self) -> RowKeys:
        return self._current.keys()

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
