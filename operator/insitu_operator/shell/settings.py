"""How the operator is set up: environment variables, checked before anything starts."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from insitu.api import Framework
from insitu.errors import ConfigurationError
from insitu_operator.core.objects.settings import TrainerSettings
from insitu_operator.shell.leading.lease import Times

PREFIX = "INSITU_"


class Address(BaseModel):
    """Where to listen."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int = Field(ge=0, le=65535)


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, _, port = value.rpartition(":")
    return {"host": host.strip("[]"), "port": port}


def _names(value: object) -> object:
    return (
        tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value
    )


Listen = Annotated[Address, BeforeValidator(_address)]
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """Each field is the variable `INSITU_` and its name in capitals; an empty one counts as unset.

    Args:
        namespaces: Whose TrainingJobs are served; empty for those of the whole cluster.
        lease_namespace: Where the Lease is; the pod's own when it runs in one.
        lease_name: The same for all replicas.
        lease_seconds: For how long a leader's renewal holds.
        renew_deadline_seconds: A leader that could not renew for so long ends.
        retry_seconds: Between two renewals.
        listen: Address of probes and metrics.
        heartbeat_listen: Address of the endpoint that trainers post to.
        resync_seconds: Everything is read and compared this often, whatever the watches said.
        workers: Passes at once for fresh events.
        slow_workers: Passes at once for what is only checked again.
        stuck_seconds: The liveness probe fails when a job waits, or a pass takes, longer.
        trainer_image_torch: For jobs of framework Torch that name no image.
        trainer_image_tensorflow: The same for TensorFlow.
        trainer_pull_policy: `imagePullPolicy` of trainers; empty leaves it to the cluster.
        heartbeat_url: Where trainers reach `heartbeat_listen`; empty for no heartbeats.
        audience: Whom trainers' tokens have to be made out to.
        denied_addresses: Networks, as 169.254.0.0/16, where no database of a job may be.
        log_level: debug, info, warning or error.
        pod_name: Of the pod this process runs in; from `POD_NAME`.
        pod_namespace: Of that pod; from `POD_NAMESPACE`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    namespaces: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    lease_namespace: str = ""
    lease_name: str = "insitu-operator"
    lease_seconds: Seconds = 8.0
    renew_deadline_seconds: Seconds = 5.0
    retry_seconds: Seconds = 1.0
    listen: Listen = Address(host="0.0.0.0", port=8080)  # noqa: S104 - the kubelet comes from outside
    heartbeat_listen: Listen = Address(host="0.0.0.0", port=8090)  # noqa: S104 - as trainers do
    resync_seconds: Seconds = 600.0
    workers: int = Field(default=16, ge=1)
    slow_workers: int = Field(default=2, ge=1)
    stuck_seconds: Seconds = 120.0
    trainer_image_torch: str = ""
    trainer_image_tensorflow: str = ""
    trainer_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    heartbeat_url: str = Field(default="", pattern=r"^(https?://.+)?$")
    audience: str = TrainerSettings().audience
    denied_addresses: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_names)] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    pod_name: str = ""
    pod_namespace: str = ""

    @property
    def times(self) -> Times:
        return Times(self.lease_seconds, self.renew_deadline_seconds, self.retry_seconds)

    @property
    def home(self) -> str:
        """The namespace of the Lease."""
        return self.lease_namespace or self.pod_namespace or "default"

    @property
    def identity(self) -> str:
        """Of this process in the election.

        A pod's name: when its container starts again, the one before is dead for certain, and the
        new one need not wait for the old lease to run out.
        """
        return self.pod_name or f"{socket.gethostname()}-{secrets.token_hex(4)}"

    @property
    def trainers(self) -> TrainerSettings:
        images = {
            Framework.TORCH: self.trainer_image_torch,
            Framework.TENSORFLOW: self.trainer_image_tensorflow,
        }
        return TrainerSettings(
            images={framework: image for framework, image in images.items() if image},
            pull_policy=self.trainer_pull_policy or None,
            heartbeat_url=self.heartbeat_url or None,
            audience=self.audience,
        )

    @model_validator(mode="after")
    def _lease_times_fit(self) -> Self:
        _ = self.times
        return self


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises:
    ConfigurationError: names each variable that can't be used.
    """
    own = {name: environment.get(f"{PREFIX}{name.upper()}", "") for name in Settings.model_fields}
    own |= {name: environment.get(name.upper(), "") for name in ("pod_name", "pod_namespace")}
    try:
        return Settings.model_validate({name: value for name, value in own.items() if value})
    except ValidationError as wrong:
        raise ConfigurationError("; ".join(map(_sentence, wrong.errors()))) from None


def _sentence(error: ErrorDetails) -> str:
    if not error["loc"]:
        return error["msg"]
    return f"{PREFIX}{str(error['loc'][0]).upper()}={error['input']!r}: {error['msg']}"
