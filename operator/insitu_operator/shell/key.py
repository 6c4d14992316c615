"""Which job is meant."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """A TrainingJob of any uid."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
