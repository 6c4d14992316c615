"""`spec`: what the user asks for. Units and defaults are in each field's description."""

from __future__ import annotations

import enum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from insitu.api.base import LARGEST, SPACES, Model, NamedSecret, ObjectName
from insitu.api.data import Data
from insitu.api.trainer import Trainer

FolderPath = Annotated[
    str, StringConstraints(max_length=512, pattern=rf"^[^/{SPACES}][^{SPACES}]*$")
]


class Locality(enum.StrEnum):
    """Whether a rank may read from a database node other than its own."""

    REQUIRED = "Required"
    PREFERRED = "Preferred"
    IGNORED = "Ignored"


class OnTopologyChange(enum.StrEnum):
    """What to do when the plan no longer fits the database."""

    REPLAN = "Replan"
    IGNORE = "Ignore"
    FAIL = "Fail"


class Placement(Model):
    """Where ranks run."""

    locality: Locality = Field(
        default=Locality.REQUIRED,
        description="`Required` never reads a row from another machine, `Preferred` does so only"
        " when the owner can't be reached, `Ignored` spreads shards without regard to owners (a"
        " baseline to compare with). Default: Required.",
    )
    on_topology_change: OnTopologyChange = Field(
        default=OnTopologyChange.REPLAN,
        description="What to do when a rank's database node is gone or no longer owns its shards:"
        " `Replan` goes on from the last commit with a new plan, `Ignore` leaves running ranks"
        " alone, `Fail` ends the job. Default: Replan.",
    )
    max_ranks: int | None = Field(
        default=None,
        ge=1,
        le=10000,
        description="Most ranks the job may have. Default: one for each database node.",
    )


class Training(Model):
    """Handed to the script; a script may override it."""

    epochs: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Passes over the table. Default: the script decides.",
    )
    global_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Rows of one optimizer step, over all ranks. Default: the script decides.",
    )
    seed: int = Field(
        default=0, ge=0, le=LARGEST, description="Seed of the data order. Default: 0."
    )


class S3Store(Model):
    """A bucket of an S3-compatible store that supports conditional writes."""

    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][-.a-z0-9]*[a-z0-9]$")] = Field(
        min_length=3, max_length=63, description="Name of the bucket. It must exist."
    )
    prefix: FolderPath | None = Field(
        default=None, description="Folder in the bucket. Default: its root."
    )
    endpoint: Annotated[str, StringConstraints(pattern=rf"^https?://[^{SPACES}]+$")] | None = Field(
        default=None, max_length=512, description="URL of the store. Default: Amazon S3."
    )
    region: Annotated[str, StringConstraints(pattern=r"^[-a-z0-9]+$")] | None = Field(
        default=None, max_length=64, description="Region of the bucket. Default: the store's."
    )
    credentials: NamedSecret | None = Field(
        default=None,
        description="Secret with the keys `accessKeyId` and `secretAccessKey`. Default: what the"
        " machine offers.",
    )


class ClaimStore(Model):
    """A volume that every trainer can write to at the same time (ReadWriteMany)."""

    claim_name: ObjectName = Field(
        description="Name of the PersistentVolumeClaim, in the namespace of the job. `insitu run`"
        " writes to a folder on this machine instead."
    )
    path: FolderPath | None = Field(
        default=None, description="Folder in the volume. Default: its root."
    )


class Store(Model):
    """Where checkpoints are kept: exactly one of `s3` and `persistentVolumeClaim`."""

    s3: S3Store | None = Field(default=None, description="A bucket of an S3-compatible store.")
    persistent_volume_claim: ClaimStore | None = Field(
        default=None, description="A volume that all trainers share."
    )

    @model_validator(mode="after")
    def _one_store(self) -> Self:
        if (self.s3 is None) == (self.persistent_volume_claim is None):
            found = "neither is" if self.s3 is None else "both are"
            raise ValueError(f"exactly one of s3 and persistentVolumeClaim must be set; {found}")
        return self


class Checkpoint(Model):
    """Where commits go, how often, and which one to start from."""

    store: Store | None = Field(
        default=None,
        description="Where checkpoints are kept. Default: nowhere in a cluster, so that a restart"
        " begins at the first row; a folder beside the manifest for `insitu run`.",
    )
    every_steps: int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="Steps between two commits. 0 commits at the end of each epoch and of the job"
        " only. Default: 0.",
    )
    keep_last: int = Field(
        default=3, ge=1, le=1000, description="Number of newest commits to keep. Default: 3."
    )
    resume_from: int | None = Field(
        default=None,
        ge=0,
        le=LARGEST,
        description="Number of the commit to begin from, which another job of the same name may"
        " have made on the same table in the same shards; the number is in its"
        " `status.checkpoint.uri`. A job that has committed goes on from its own newest commit."
        " Default: the first row.",
    )


class FailurePolicy(Model):
    """How often, and after how long, a job may be started again from its last commit."""

    backoff_limit: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Crashes of the script after which the job fails. Default: 3.",
    )
    disruption_limit: int = Field(
        default=10,
        ge=0,
        le=1000,
        description="Restarts in a row, without a new commit between them, that are no fault of"
        " the script (a database node or another rank went away). Default: 10.",
    )
    first_step_deadline_seconds: int = Field(
        default=600,
        ge=1,
        le=604800,
        description="Seconds from the start of all ranks in which the script must take its first"
        " step. Does not apply to framework `None`. Default: 600.",
    )


class Spec(Model):
    """What to train, on which rows, and where."""

    data: Data = Field(description="The table to train on.")
    placement: Placement = Field(default=Placement(), description="Where ranks run.")
    trainer: Trainer = Field(description="What runs beside each database node.")
    training: Training = Field(
        default=Training(), description="Epochs, batch size and seed for the script."
    )
    checkpoint: Checkpoint = Field(
        default=Checkpoint(), description="Where checkpoints go, and how often."
    )
    failure_policy: FailurePolicy = Field(
        default=FailurePolicy(), description="When to start again, and when to give up."
    )
    suspend: bool = Field(
        default=False,
        description="True stops all ranks after a checkpoint, or holds back their start. May be"
        " changed at any time. Default: false.",
    )
    managed_by: (
        Annotated[str, StringConstraints(pattern=rf"^[^{SPACES}/]+/[^{SPACES}/]+$")] | None
    ) = Field(
        default=None,
        max_length=63,
        description="Controller that acts on this job, as `domain/name`. Default: Insitu's.",
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Seconds that the job may be active before it fails; time in suspension does"
        " not count. Default: no limit.",
    )
    start_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Seconds in which all ranks must be running before the job fails. Default: no"
        " limit; 60 for `insitu run`.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Seconds after its end in which the job is deleted. A tool that keeps"
        " manifests in sync would create and run it again. Default: it stays.",
    )
