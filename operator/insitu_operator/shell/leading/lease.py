"""What a Lease object says, and who may take it. Pure.

The rules are those of client-go's leader election: a holder counts as gone when its Lease has not
changed for its whole duration by the *reader's* clock, so that nobody's wall clock matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from insitu_operator.kubernetes import Json


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds.

    Args:
        lease: For how long a renewal holds.
        deadline: A leader without a renewal for so long gives up; shorter than the lease.
        retry: Between two renewals, or two looks of a follower.
    """

    lease: float = 8.0
    deadline: float = 5.0
    retry: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.deadline < self.lease:
            raise ValueError(
                f"a leader renews every {self.retry:g} s, gives up after {self.deadline:g} s and "
                f"its lease runs for {self.lease:g} s: these must grow in this order"
            )


@dataclass(frozen=True, slots=True)
class Seen:
    """A Lease, and when this version of it was first seen, in seconds of the reader's clock."""

    document: Json
    at: float

    @property
    def holder(self) -> str:
        """Empty when it was released."""
        return str(self._spec.get("holderIdentity") or "")

    @property
    def version(self) -> str:
        return str(self.document["metadata"]["resourceVersion"])

    def again(self, document: Json, now: float) -> Seen:
        """Of the Lease as it is now: its age grows on as long as it is the same version."""
        newer = Seen(document, now)
        return self if newer.version == self.version else newer

    def may_be_taken(self, identity: str, now: float) -> bool:
        """By the process that calls itself `identity`: when it is free, its own or run out."""
        if self.holder in ("", identity):
            return True
        return now - self.at >= float(self._spec.get("leaseDurationSeconds") or 0)

    def taken(self, identity: str, seconds: float, now: datetime) -> Json:
        """The Lease to write so that `identity` holds it from now on."""
        spec = dict(self._spec)
        if self.holder != identity:
            spec["acquireTime"] = micro_time(now)
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        return {**self.document, "spec": {**spec, **_held(identity, seconds, now)}}

    def released(self, now: datetime) -> Json:
        """The Lease to write so that the next one need not wait."""
        return {**self.document, "spec": {**self._spec, **_held("", 1, now)}}

    @property
    def _spec(self) -> Json:
        spec: Json = self.document.get("spec") or {}
        return spec


def new_lease(name: str, identity: str, seconds: float, now: datetime) -> Json:
    """The Lease to create where there is none."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {
            "acquireTime": micro_time(now),
            "leaseTransitions": 0,
            **_held(identity, seconds, now),
        },
    }


def micro_time(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as Kubernetes writes its MicroTime."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _held(identity: str, seconds: float, now: datetime) -> Json:
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": math.ceil(seconds),
        "renewTime": micro_time(now),
    }
