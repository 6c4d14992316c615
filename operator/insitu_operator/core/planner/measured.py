"""What a plan makes of a measured locality: a node's own shards are not always read on it."""

from __future__ import annotations

from collections.abc import Iterable

from insitu.api import Locality
from insitu.errors import ConfigurationError
from insitu.topology import MeasuredLocality


def refuse_elsewhere(found: MeasuredLocality | None) -> None:
    """Raises `ConfigurationError` where nodes are known to read their shards from other nodes."""
    if found is not None and found.share is not None and found.share < 1:
        raise ConfigurationError(
            f"{_share(found.share)}, and locality is Required: {found.remedy};"
            " or set placement.locality to Preferred"
        )


def measured(found: MeasuredLocality | None, locality: str) -> Iterable[str]:
    """A sentence for a plan whose ranks may get rows of other machines without knowing."""
    if found is None or not found.remedy or locality == Locality.IGNORED:
        return
    if found.share is None:
        yield f"whether database nodes read their own copies could not be measured: {found.remedy}"
    elif found.share < 1:
        yield f"{_share(found.share)}: {found.remedy}"
    else:
        yield (
            "database nodes read their own copies now, but may come to prefer those of faster"
            f" nodes: {found.remedy}"
        )


def _share(share: float) -> str:
    return f"database nodes read only {int(share * 100)} % of their shards from their own copies"
