"""What the operator's own configuration says about trainers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from insitu.api import Framework


@dataclass(frozen=True)
class TrainerSettings:
    """`images` are taken for jobs that name none. `heartbeat_url` None: no heartbeats are sent.

    `pull_policy` is Kubernetes' `imagePullPolicy`; None leaves it to the cluster. `audience` is
    whom the trainers' tokens are made out to.
    """

    images: Mapping[Framework, str] = field(default_factory=dict)
    pull_policy: str | None = None
    heartbeat_url: str | None = None
    audience: str = "insitu.dev/operator"
