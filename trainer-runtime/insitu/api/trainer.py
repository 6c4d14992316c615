"""`spec.trainer`: what runs beside each database node."""

from __future__ import annotations

import enum
from typing import Annotated, Self

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from insitu.api.base import LARGEST, SPACES, Model, NamedObject, ObjectName

Argument = Annotated[str, StringConstraints(max_length=32768), Field(description="Any text.")]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[
    str, StringConstraints(max_length=63), Field(description="At most 63 characters.")
]

_AMOUNT = r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2}|[numk]|[MGTPE]|[KMGTPE]i)?$"


def _as_text(value: object) -> object:
    return str(value) if type(value) is int and abs(value) <= LARGEST else value


Quantity = Annotated[
    str,
    BeforeValidator(_as_text),
    StringConstraints(max_length=64, pattern=_AMOUNT),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": LARGEST},
                {"type": "string", "maxLength": 64, "pattern": _AMOUNT},
            ],
            "description": "A whole number, or a Kubernetes quantity such as `500m` or `2Gi`.",
        }
    ),
]
"""Text in the model; a manifest may write `nvidia.com/gpu: 1` as it does in a pod."""


class Framework(enum.StrEnum):
    """Which framework's environment a trainer is given."""

    TORCH = "Torch"
    TENSORFLOW = "TensorFlow"
    NONE = "None"


class KeyRef(Model):
    """One key of a Secret."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of the job.")
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        max_length=253, description="Key whose value is taken."
    )


class EnvValueFrom(Model):
    """Where the value of a variable comes from."""

    secret_key_ref: KeyRef = Field(description="Takes the value from one key of a Secret.")


class EnvVar(Model):
    """One environment variable, as in a pod."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        max_length=253, description="Name of the variable; letters, digits and '_'."
    )
    value: Argument | None = Field(
        default=None,
        description="Value; `$(NAME)` becomes the value of an earlier variable. At most one of"
        " `value` and `valueFrom` is set; with neither the variable is empty.",
    )
    value_from: EnvValueFrom | None = Field(
        default=None, description="Takes the value from somewhere else."
    )

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if self.value is not None and self.value_from is not None:
            raise ValueError("at most one of value and valueFrom may be set; both are")
        return self


class Code(Model):
    """Where the training script comes from when the image does not hold it."""

    config_map: NamedObject = Field(
        description="ConfigMap whose keys become files of the working directory. `insitu run`"
        " works in the folder of the manifest instead."
    )


class Resources(Model):
    """Compute resources of each trainer, as in a pod."""

    requests: dict[LabelKey, Quantity] = Field(
        default={}, max_length=16, description="Resources that a machine must have free."
    )
    limits: dict[LabelKey, Quantity] = Field(
        default={}, max_length=16, description="Resources that a trainer may not exceed."
    )


class TolerationOperator(enum.StrEnum):
    """How a toleration's value is compared with that of a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(enum.StrEnum):
    """What a taint does to pods that don't tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Model):
    """A taint that trainers may ignore, as in a pod."""

    key: LabelKey | None = Field(default=None, description="Key of the taint. Default: all keys.")
    operator: TolerationOperator = Field(
        default=TolerationOperator.EQUAL, description="`Exists` or `Equal`. Default: Equal."
    )
    value: LabelValue | None = Field(default=None, description="Value that `Equal` compares with.")
    effect: TaintEffect | None = Field(
        default=None, description="Effect of the taint. Default: all effects."
    )
    toleration_seconds: int | None = Field(
        default=None,
        ge=0,
        le=86400,
        description="Seconds that a `NoExecute` taint is tolerated. Default: for ever.",
    )


RESERVED = "insitu.dev/"
"""Beginning of the keys of labels and annotations that Insitu sets itself."""


class Template(Model):
    """The fields of a trainer's pod that a job may set; the rest belongs to Insitu."""

    labels: dict[LabelKey, LabelValue] = Field(
        default={},
        max_length=32,
        description="Further labels of each pod; none whose key begins with `insitu.dev/`.",
    )
    annotations: dict[LabelKey, Argument] = Field(
        default={},
        max_length=32,
        description="Further annotations of each pod; none whose key begins with `insitu.dev/`.",
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), max_length=32, description="Taints that the pods may ignore."
    )
    service_account_name: ObjectName | None = Field(
        default=None, description="ServiceAccount of the pods. Default: `default`."
    )
    image_pull_secrets: tuple[NamedObject, ...] = Field(
        default=(), max_length=8, description="Secrets with the credentials of image registries."
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="PriorityClass of the pods. Default: the cluster's."
    )
    runtime_class_name: ObjectName | None = Field(
        default=None, description="RuntimeClass of the pods. Default: the cluster's."
    )
    termination_grace_period_seconds: int = Field(
        default=60,
        ge=1,
        le=3600,
        description="Seconds that a trainer has to write a checkpoint and leave when it is asked"
        " to stop. Default: 60.",
    )

    @model_validator(mode="after")
    def _nothing_of_ours(self) -> Self:
        for field, keys in (("labels", self.labels), ("annotations", self.annotations)):
            if ours := sorted(key for key in keys if key.startswith(RESERVED)):
                raise ValueError(
                    f"`{field}` may not have keys that begin with {RESERVED}: Insitu finds its own"
                    f" pods by them; {ours[0]} is one"
                )
        return self


class Trainer(Model):
    """What runs beside each database node."""

    framework: Framework = Field(
        default=Framework.TORCH,
        description="Whose rendezvous variables a trainer is given: `Torch`, `TensorFlow`, or"
        " `None` for scripts that need none and report no steps. Default: Torch.",
    )
    image: Annotated[str, StringConstraints(pattern=rf"^[^{SPACES}]+$")] | None = Field(
        default=None,
        max_length=1024,
        description="Container image with the script's dependencies. Default: the operator's"
        " image for the framework. `insitu run` uses the Python it runs in.",
    )
    command: tuple[Argument, ...] = Field(
        min_length=1,
        max_length=256,
        description="The program that trains, and its arguments, as in a pod: no shell, `$(NAME)`"
        " becomes the value of a variable. Example: [python, train.py].",
    )
    args: tuple[Argument, ...] = Field(
        default=(), max_length=1024, description="Further arguments, after those of `command`."
    )
    env: tuple[EnvVar, ...] = Field(
        default=(),
        max_length=256,
        description="Further environment variables, each name once. Those that Insitu sets itself"
        " always win.",
    )
    source: Code | None = Field(
        default=None, description="Where the script comes from. Default: the image."
    )
    resources: Resources = Field(
        default=Resources(), description="Compute resources of each trainer. Default: none asked."
    )
    template: Template = Field(
        default=Template(), description="Further fields of the trainers' pods."
    )

    @field_validator("env")
    @classmethod
    def _each_name_once(cls, env: tuple[EnvVar, ...]) -> tuple[EnvVar, ...]:
        names = [variable.name for variable in env]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"each name may be there once; more than once: {', '.join(twice)}")
        return env
