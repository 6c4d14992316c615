"""`status`: what Insitu says about a job. Written by Insitu only."""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints, WithJsonSchema

from insitu.api.base import LARGEST, Model
from insitu.api.reasons import Reason

Text = Annotated[str, StringConstraints(max_length=32768)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]

# Not the list of reasons, so that a definition from before a reason was added accepts it.
_WORD = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z]+$"}


class ConditionType(enum.StrEnum):
    """What a condition is about. All of them are in every status, in this order."""

    TOPOLOGY_RESOLVED = "TopologyResolved"
    PLANNED = "Planned"
    PODS_SCHEDULED = "PodsScheduled"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    FINISHED = "Finished"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class ConditionStatus(enum.StrEnum):
    """Unknown means that it could not be found out, never that it is false."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """One fact about the job, with the reason for it."""

    type: ConditionType = Field(description="What the condition is about.")
    status: ConditionStatus = Field(description="`True`, `False` or `Unknown`.")
    reason: Annotated[Reason, WithJsonSchema(_WORD)] = Field(
        description="Why, as one word for machines."
    )
    message: Text = Field(default="", description="Why, with the facts, for people.")
    last_transition_time: AwareDatetime = Field(
        description="When `status` last became what it is (RFC 3339)."
    )
    observed_generation: Count = Field(
        description="`metadata.generation` of the spec that the condition speaks of."
    )


class WorkerCounts(Model):
    """How many ranks there are, by what they do."""

    desired: Count = Field(default=0, description="Ranks of the plan.")
    gated: Count = Field(default=0, description="Ranks that wait for all others to be ready.")
    running: Count = Field(default=0, description="Ranks whose trainer runs.")
    succeeded: Count = Field(default=0, description="Ranks whose trainer ended its work.")
    failed: Count = Field(default=0, description="Ranks whose trainer ended early.")


class LocalityShare(Model):
    """How much is read on the machine that holds it: as planned, and as measured."""

    shards: Count = Field(default=0, description="Shards of the plan.")
    local: Count = Field(
        default=0, description="Shards planned to be read from their own rank's node."
    )
    remote: Count = Field(default=0, description="Shards planned to be read from another node.")
    bytes_local: Count = Field(
        default=0, description="Bytes read from the rank's own node so far, in this generation."
    )
    bytes_remote: Count = Field(
        default=0, description="Bytes read from other nodes so far, in this generation."
    )
    earlier_bytes_local: Count = Field(
        default=0, description="As `bytesLocal`, by all generations before."
    )
    earlier_bytes_remote: Count = Field(
        default=0, description="As `bytesRemote`, by all generations before."
    )
    own_copies_percent: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None,
        description=(
            "How much of what database nodes are asked for they read from their own copies, as"
            " measured before the plan. Absent where a node can only read its own, or nobody"
            " could measure it."
        ),
    )


class Metric(Model):
    """A number that the script reported."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=63)] = Field(
        description="Name of the metric, such as `loss`."
    )
    value: Annotated[str, StringConstraints(max_length=64)] = Field(
        description="Newest value, as a decimal number."
    )


class TrainerStatus(Model):
    """How far the training is; at most one update in five seconds."""

    progress_percentage: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="Rows taken in percent of all rows of all epochs, if known."
    )
    estimated_remaining_seconds: Count | None = Field(
        default=None, description="Seconds until the end at the present speed, if known."
    )
    epoch: Count = Field(default=0, description="Number of the running epoch, from 0.")
    step: Count = Field(default=0, description="Optimizer steps so far, over the whole job.")
    rows: Count = Field(default=0, description="Rows taken in this epoch, over all ranks.")
    rows_per_second: Count = Field(default=0, description="Present speed, over all ranks.")
    inexact_epochs: Count = Field(
        default=0, description="Epochs during which rows are known to have come or gone."
    )
    metrics: tuple[Metric, ...] = Field(
        default=(), max_length=256, description="Newest metrics, by name."
    )
    last_updated_time: AwareDatetime = Field(description="When a trainer last reported (RFC 3339).")


class CheckpointStatus(Model):
    """The newest commit."""

    step: Count = Field(description="Optimizer steps that are part of it.")
    time: AwareDatetime | None = Field(
        default=None, description="When it was committed (RFC 3339)."
    )
    uri: Annotated[str, StringConstraints(max_length=2048)] = Field(
        description="Where it lies in the store."
    )


class NodeStatus(Model):
    """One rank and the database node beside it."""

    rank: Count = Field(description="The rank, from 0.")
    database_node: Annotated[str, StringConstraints(max_length=255)] = Field(
        description="Stable id of the database node that the rank reads from."
    )
    node: Annotated[str, StringConstraints(max_length=253)] = Field(
        default="", description="Machine that both run on."
    )
    shards: Count = Field(default=0, description="Shards of the rank.")
    rows: Count = Field(default=0, description="Rows in these shards, as planned.")
    rows_read: Count = Field(default=0, description="Rows read by the rank so far.")
    state: Annotated[str, StringConstraints(max_length=32)] = Field(
        default="Waiting",
        description="Waiting, Starting, Running, Stopping, Stopped, Succeeded or Failed.",
    )
    reason: Text = Field(default="", description="Why the rank is not running, if it is not.")


class Summary(Model):
    """The job in a few words, for the columns of `kubectl get`; the conditions are the truth."""

    status: Annotated[str, StringConstraints(max_length=64)] = Field(
        default="Pending", description="What the job does now."
    )
    nodes: Annotated[str, StringConstraints(max_length=64)] = Field(
        default="", description="Running ranks of all ranks and how they read, as `3/3 local`."
    )
    progress: Annotated[str, StringConstraints(max_length=16)] = Field(
        default="", description="Progress, as `45%`."
    )
    eta: Annotated[str, StringConstraints(max_length=16)] = Field(
        default="", description="Time left, as `12m`."
    )
    message: Annotated[str, StringConstraints(max_length=256)] = Field(
        default="", description="Why it does that, shortened; the conditions have the whole of it."
    )


class Status(Model):
    """What Insitu last saw and decided."""

    observed_generation: Count = Field(
        default=0, description="`metadata.generation` of the spec that this status speaks of."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(), max_length=16, description="All conditions, from the first status on."
    )
    summary: Summary = Field(default=Summary(), description="The job in a few words.")
    generation: Count = Field(
        default=0, description="Generation of the plan that ranks were last started with, from 1."
    )
    rows: Count | None = Field(
        default=None, description="Rows of the table when the job first counted them, if countable."
    )
    restarts: Count = Field(default=0, description="Times that all ranks were started again.")
    workers: WorkerCounts = Field(default=WorkerCounts(), description="Ranks by what they do.")
    locality: LocalityShare = Field(
        default=LocalityShare(), description="How much is read where it lies."
    )
    trainer_status: TrainerStatus | None = Field(
        default=None, description="How far the training is, once a trainer has reported."
    )
    checkpoint: CheckpointStatus | None = Field(
        default=None, description="The newest commit, if there is one."
    )
    nodes: tuple[NodeStatus, ...] = Field(
        default=(), max_length=64, description="The first 64 ranks; the plan holds them all."
    )
    start_time: AwareDatetime | None = Field(
        default=None, description="When the job was first acted on, or last resumed (RFC 3339)."
    )
    completion_time: AwareDatetime | None = Field(
        default=None, description="When the job ended (RFC 3339)."
    )

    def condition(self, kind: ConditionType) -> Condition | None:
        """The condition of that type, if the status has it yet."""
        return next((c for c in self.conditions if c.type is kind), None)

    def is_true(self, kind: ConditionType) -> bool:
        """Whether the condition is there and True."""
        found = self.condition(kind)
        return found is not None and found.status is ConditionStatus.TRUE

    def since(self, kind: ConditionType) -> datetime | None:
        """When the condition last changed its status."""
        found = self.condition(kind)
        return found.last_transition_time if found else None


def metrics_of(values: Iterable[tuple[str, float]]) -> tuple[Metric, ...]:
    """Metrics by name; numbers become strings, because the API has no floats.

    Names are made unique and 1 to 63 letters long: the API server takes a status whole or not.
    """
    found: dict[str, float] = {}
    for name, value in sorted(values):
        found.setdefault(shortened(name or "unnamed", 63), value)
    return tuple(Metric(name=name, value=f"{value:.6g}") for name, value in found.items())


def shortened(text: str, most: int) -> str:
    """`text`, or its beginning and a digest of all of it where it has more than `most` letters.

    >>> shortened("accuracy", 63)
    'accuracy'
    """
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{text[: most - 9]}-{digest}"


def counted(number: float) -> int:
    """The nearest count that the API has."""
    return 0 if math.isnan(number) else int(max(0, min(number, LARGEST)))
