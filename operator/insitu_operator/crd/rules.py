"""What a schema can't say: rules in CEL that the API server checks, with what it then says.

The same rules are validators of the models; tests/cluster/test_crd.py compares the two.
https://kubernetes.io/docs/reference/using-api/cel/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from insitu.api import Spec
from insitu.api.job import NAME_LENGTH, NAME_PATTERN
from insitu.api.spec import Checkpoint
from insitu.api.trainer import RESERVED


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on `self`, and the sentence for whoever breaks it.

    Args:
        path: Field that is blamed, as `.data`; empty for the whole object.
    """

    condition: str
    message: str
    path: str = ""

    def document(self) -> dict[str, object]:
        """As the definition writes it."""
        return {
            "rule": self.condition,
            "message": self.message,
            **({"fieldPath": self.path} if self.path else {}),
        }


def keys(shortest: int, longest: int) -> Rule:
    """For a map: a schema bounds its values only."""
    return Rule(
        f"self.all(key, size(key) >= {shortest} && size(key) <= {longest})",
        f"each key must have {shortest} to {longest} characters",
    )


def _exactly_one(one: str, other: str) -> Rule:
    return Rule(
        f"has(self.{one}) != has(self.{other})",
        f"exactly one of `{one}` and `{other}` must be set",
    )


def _immutable(model: type[BaseModel], *mutable: str) -> Iterator[Rule]:
    """Rules on `model`, whose fields are not to change but for the `mutable` ones."""
    for python_name, field in model.model_fields.items():
        name = field.alias or python_name
        if name in mutable:
            continue
        same = f"self.{name} == oldSelf.{name}"
        if not field.is_required():
            both = f"has(self.{name}) && has(oldSelf.{name})"
            same = f"{both} ? {same} : has(self.{name}) == has(oldSelf.{name})"
        message = f"`{name}` may not change after the job was created; create a new job instead"
        yield Rule(same, message, f".{name}")


NAME = Rule(
    f"self.metadata.name.matches('{NAME_PATTERN}') && size(self.metadata.name) <= {NAME_LENGTH}",
    f"`metadata.name` must have at most {NAME_LENGTH} characters: lower case letters, digits and"
    " '-', beginning with a letter and ending with a letter or a digit",
)

_WAY_IN = _exactly_one("service", "endpoints")
RULES: Mapping[str, Sequence[Rule]] = {
    "Spec": tuple(
        _immutable(
            Spec,
            "suspend",
            "checkpoint",
            "activeDeadlineSeconds",
            "startDeadlineSeconds",
            "ttlSecondsAfterFinished",
        )
    ),
    "Checkpoint": tuple(_immutable(Checkpoint, "keepLast")),
    "Data": (_exactly_one("ignite", "cassandra"),),
    "IgniteData": (_WAY_IN,),
    "CassandraData": (_WAY_IN,),
    "Store": (_exactly_one("s3", "persistentVolumeClaim"),),
    "Template": tuple(
        Rule(
            f"!has(self.{field}) || self.{field}.all(key, !key.startsWith('{RESERVED}'))",
            f"`{field}` may not have keys that begin with {RESERVED}: Insitu finds its own pods by"
            " them",
        )
        for field in ("labels", "annotations")
    ),
    "EnvVar": (
        Rule(
            "!has(self.value) || !has(self.valueFrom)",
            "at most one of `value` and `valueFrom` may be set",
        ),
    ),
}
"""By the name of the model that they are about."""
