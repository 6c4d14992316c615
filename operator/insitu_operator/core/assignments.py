"""What each rank of a plan is told."""

from __future__ import annotations

from dataclasses import replace

from insitu.api import TrainingJob
from insitu.contract import ALONE, Assignment, Checkpoint, Training
from insitu.databases import DataSource
from insitu.topology import Topology
from insitu_operator.core.record import Record


def assignments(
    job: TrainingJob,
    record: Record,
    topology: Topology,
    *,
    source: DataSource,
    store: str | None,
    master: tuple[str, int],
    workers: tuple[tuple[str, int], ...] = (),
) -> tuple[Assignment, ...]:
    """One for each rank. `topology` must be one that the plan fits; `store` is a URL.

    Every generation is told of `resumeFrom`: the trainer sees in the log of commits whether the
    job has got beyond it.
    """
    spec = job.spec
    shards = {shard.id: shard for shard in topology.shards}
    # Made once: each rank is told the addresses of all nodes.
    reached = replace(source, endpoints=_endpoints(source, topology))
    checkpoint = Checkpoint(
        store=store,
        every_steps=spec.checkpoint.every_steps,
        keep_last=spec.checkpoint.keep_last,
        resume_from=spec.checkpoint.resume_from,
    )
    training = Training(
        epochs=spec.training.epochs,
        global_batch_size=spec.training.global_batch_size,
        seed=spec.training.seed,
    )
    return tuple(
        Assignment(
            job=job.metadata.name,
            generation=record.generation,
            rank=part.rank,
            world_size=record.plan.world_size,
            source=reached,
            node=topology.node[part.node],
            shards=tuple(shards[shard] for shard in part.shards),
            nodes=topology.nodes,
            locality=str(spec.placement.locality),
            on_data_change=str(spec.data.on_change),
            rows=record.rows,
            master=master,
            workers=workers,
            training=training,
            checkpoint=checkpoint,
            run=job.metadata.uid or ALONE,
        )
        for part in record.plan.ranks
    )


def _endpoints(source: DataSource, topology: Topology) -> tuple[tuple[str, int], ...]:
    """The live nodes first: an address of the manifest may be down by now."""
    live = tuple((node.host, node.port) for node in topology.nodes)
    known = frozenset(live)
    return live + tuple(e for e in source.endpoints if e not in known)
