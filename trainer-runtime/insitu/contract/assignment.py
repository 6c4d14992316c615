"""What one rank of one generation is told: values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from insitu.databases import DataSource
from insitu.topology import DatabaseNode, NodeId, Shard

ALONE = "alone"
"""The run of scripts that nobody but the user starts: each goes on from what the one before did."""


@dataclass(frozen=True, slots=True)
class Training:
    """What the script is asked to do; None leaves the choice to the script."""

    epochs: int | None = None
    global_batch_size: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where commits go and how often. `store` is a URL: `file:///path` or `s3://bucket/prefix`.

    `every_steps` 0 commits only at the end of an epoch and of the job. `resume_from` is a
    sequence number of the commit log, where a run begins that has not committed yet; None is the
    first row. A run that has committed goes on from its newest commit.
    """

    store: str | None = None
    every_steps: int = 0
    keep_last: int = 3
    resume_from: int | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """Everything one rank of one generation is told.

    `node` is the database node to read from and `shards` are this rank's own; `nodes` are the
    addresses of all live nodes, used only for shards whose owners do not include `node`, or when
    `locality` is Preferred and the owner is gone. `rows` is the exact size of the whole table
    when the job first counted it: an epoch that takes another number is not exact. `page_rows`
    is a wish of the user's for the rows of a page; the reader's own limits in bytes hold anyway.
    `workers` are the addresses where TensorFlow's own servers of all ranks will listen; without
    them the ranks agree on some when they meet. `run` is the UID of this life of the job: what
    others of the same name have committed is not this one's.
    """

    job: str
    generation: int
    rank: int
    world_size: int
    source: DataSource
    node: DatabaseNode
    shards: tuple[Shard, ...]
    nodes: tuple[DatabaseNode, ...] = ()
    locality: str = "Required"
    on_data_change: str = "Fail"
    rows: int | None = None
    master: tuple[str, int] = ("127.0.0.1", 0)
    training: Training = field(default_factory=Training)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    page_rows: int | None = None
    workers: tuple[tuple[str, int], ...] = ()
    run: str = ALONE

    @property
    def remote(self) -> tuple[Shard, ...]:
        """Shards this rank has to read from another database node."""
        me: NodeId = self.node.id
        return tuple(shard for shard in self.shards if me not in shard.owners)
