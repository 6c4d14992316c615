"""What every part of the TrainingJob model has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Frozen, camelCase on the wire, and without a home for fields that it does not know.

    Code may use the Python names; `insitu.api.load_manifest` accepts the wire names only.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
    )


SPACES = r"\t\n\f\r "
"""For a character class in a pattern. Backslash-s means all of Unicode's spaces to pydantic, and
these only to Kubernetes."""

LARGEST = 2**53 - 1
"""Of whole numbers: Kubernetes compares bounds as doubles, which are exact up to here."""

ObjectName = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
"""The name of another object in the job's own namespace (RFC 1123 subdomain)."""

Port = Annotated[int, Field(ge=1, le=65535)]


class NamedObject(Model):
    """An object of the job's own namespace; there is no field for another one."""

    name: ObjectName = Field(description="Name of the object, in the namespace of the job.")


class NamedSecret(Model):
    """A Secret of the job's own namespace."""

    secret_name: ObjectName = Field(
        description="Name of the Secret, in the namespace of the job. `insitu run` reads the"
        " files of the folder `secrets/<name>` beside the manifest instead."
    )
