"""TrainingJob, group `insitu.dev`, version v1alpha1."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from insitu.api.base import Model
from insitu.api.spec import Spec
from insitu.api.status import Status

GROUP = "insitu.dev"
VERSION = "v1alpha1"
KIND = "TrainingJob"
CONTROLLER = "insitu.dev/operator"

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
NAME_LENGTH = 52
"""A pod is named `<job>-<rank>-<5 characters>`, and no name may exceed 63 characters."""


class Metadata(Model):
    """The parts of an object's metadata that Insitu looks at; others are let through."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="ignore",
        frozen=True,
    )

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)] = Field(
        min_length=1, max_length=NAME_LENGTH, description="Name of the job; its pods begin with it."
    )
    namespace: str = Field(default="default", description="Namespace of the job.")
    labels: dict[str, str] = Field(default={}, description="Labels of the job.")
    annotations: dict[str, str] = Field(default={}, description="Annotations of the job.")
    uid: str = Field(default="", description="Set by Kubernetes.")
    generation: int = Field(default=1, ge=0, description="Counts changes of the spec.")
    creation_timestamp: AwareDatetime | None = Field(
        default=None, description="When the job was created (RFC 3339)."
    )
    deletion_timestamp: AwareDatetime | None = Field(
        default=None, description="When the job's deletion was asked for (RFC 3339)."
    )


class TrainingJob(Model):
    """Trains a model on a table, with one trainer beside each node of its database."""

    api_version: Literal["insitu.dev/v1alpha1"] = Field(
        description="Version of this model: `insitu.dev/v1alpha1`."
    )
    kind: Literal["TrainingJob"] = Field(description="`TrainingJob`.")
    metadata: Metadata = Field(description="Name of the job, and what Kubernetes adds to it.")
    spec: Spec = Field(description="What to train, on which rows, and where.")
    status: Status = Field(default=Status(), description="What Insitu last saw and decided.")
