"""What a failed reading of the topology means for a job."""

from __future__ import annotations

from insitu.api import Reason
from insitu.errors import (
    AuthenticationError,
    ConfigurationError,
    DataLost,
    InsituError,
    NotOwner,
    UnsupportedType,
)
from insitu_operator.core.observed import Unread

_REASONS: tuple[tuple[type[InsituError], Reason], ...] = (
    (AuthenticationError, Reason.ACCESS_DENIED),
    (ConfigurationError, Reason.SOURCE_INVALID),
    (UnsupportedType, Reason.SOURCE_INVALID),
    (DataLost, Reason.PARTITIONS_LOST),
    (NotOwner, Reason.PARTITIONS_LOST),
)


def unread(error: InsituError) -> Unread:
    """Anything not known to need a person may pass by itself."""
    reason = next((r for kind, r in _REASONS if isinstance(error, kind)), None)
    return Unread(reason or Reason.DATABASE_UNAVAILABLE, str(error))
