"""Which taints of a machine a trainer tolerates.

Rules: kubernetes/api, core/v1/toleration.go, `ToleratesTaint`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from insitu.api.trainer import Toleration, TolerationOperator

REPELLING = frozenset({"NoSchedule", "NoExecute"})
"""Effects that keep a pod away; others are only wishes."""


@dataclass(frozen=True, slots=True)
class Taint:
    """What a machine keeps pods away with."""

    key: str
    effect: str
    value: str = ""

    def __str__(self) -> str:
        return (
            f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"
        )


def tolerated(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    """Whether one of the tolerations matches the taint."""
    return any(_matches(toleration, taint) for toleration in tolerations)


def _matches(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    exists = toleration.operator is TolerationOperator.EXISTS
    if not toleration.key:
        return exists
    return toleration.key == taint.key and (exists or (toleration.value or "") == taint.value)
