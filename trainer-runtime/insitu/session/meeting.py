"""What ranks agree on before they train: once, when a script asks for its batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from insitu.columns import Shape
from insitu.errors import ConfigurationError
from insitu.session.agreement import refuse_ended
from insitu.session.collective import Collective
from insitu.topology import ShardId


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a rank knows of itself.

    `shapes` are the columns' shapes a row and `row_bytes` the size of one, as far as this rank
    has seen rows. `columns` is the schema as text; `weights` are its shards with their rows.
    """

    job: str
    generation: int
    epochs: int
    batch_size: int
    columns: str
    weights: Mapping[ShardId, int]
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    row_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Meeting:
    """What all ranks know afterwards: `shards` of all ranks in one order, and their rows."""

    shards: tuple[ShardId, ...]
    rows: int
    shapes: Mapping[str, Shape]
    row_bytes: float


_INTRODUCTION: TypeAdapter[Introduction] = TypeAdapter(Introduction)


def meet(collective: Collective, mine: Introduction) -> Meeting:
    """Introduces all ranks to each other.

    Raises:
        ConfigurationError: two ranks belong to different jobs or generations, want different
            epochs or batch sizes, read different columns, or read the same shard; or a rank
            ended its session instead.
        PeerLost: a rank went away.
    """
    messages = collective.all_gather_bytes(_INTRODUCTION.dump_json(mine))
    refuse_ended(messages)
    everyone = [_INTRODUCTION.validate_json(message) for message in messages]
    first = everyone[0]
    for name in ("job", "generation", "epochs", "batch_size", "columns"):
        for rank, other in enumerate(everyone):
            if getattr(other, name) != getattr(first, name):
                raise ConfigurationError(
                    f"ranks disagree about {name.replace('_', ' ')}: rank 0 has "
                    f"{getattr(first, name)!r}, and rank {rank} has {getattr(other, name)!r}"
                )
    holder: dict[ShardId, int] = {}
    for rank, other in enumerate(everyone):
        for shard in other.weights:
            if shard in holder:
                raise ConfigurationError(
                    f"shard {shard} is read by rank {holder[shard]} and by rank {rank}: its rows "
                    "would be used twice"
                )
            holder[shard] = rank
    shapes: dict[str, Shape] = {}
    for other in reversed(everyone):
        shapes |= other.shapes
    return Meeting(
        shards=tuple(sorted(holder)),
        rows=sum(sum(other.weights.values()) for other in everyone),
        shapes=shapes,
        row_bytes=max(other.row_bytes for other in everyone),
    )
