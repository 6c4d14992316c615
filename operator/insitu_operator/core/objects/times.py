"""Kubernetes' times."""

from __future__ import annotations

from datetime import datetime


def instant(text: str | None) -> datetime | None:
    """RFC 3339 as the API server writes it; None for no time."""
    return datetime.fromisoformat(text) if text else None
