"""The record of a generation: its plan, and all that must outlive whoever made it.

A record is written whole, and before the first rank of its generation is bound; the newest one is
the memory of the job. Status can be lost or late without a count or a plan going wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from insitu.api.status import Count
from insitu.errors import ConfigurationError
from insitu_operator.core.plan import Plan

LAST_LINES = ". Its last lines:\n"


@dataclass(frozen=True)
class Record:
    """`cause` says why there is a new generation; it is empty for the first.

    `crashes` and `disruptions` count, over the whole job, the generations that ended early by the
    script's fault and by no fault of it. `fruitless` counts the disruptions since the newest
    commit grew beyond `step`. `rows` is the size of the table when the job first counted it.
    `unplaced` counts the generations in a row, up to this one, before which the ranks had been
    taken back because not all of them found room.
    """

    plan: Plan
    at: datetime
    rows: Count | None = None
    crashes: Count = 0
    disruptions: Count = 0
    fruitless: Count = 0
    step: Count = 0
    cause: str = ""
    unplaced: Count = 0

    @property
    def generation(self) -> int:
        return self.plan.generation

    @property
    def headline(self) -> str:
        """The cause without the output of the trainer that it was."""
        return self.cause.partition(LAST_LINES)[0]

    def to_json(self) -> bytes:
        """Readable by `from_json`, and by a person."""
        return _RECORD.dump_json(self, indent=1)

    @classmethod
    def from_json(cls, text: bytes) -> Record:
        """Raises `ConfigurationError` for anything that `to_json` did not write."""
        try:
            record = _RECORD.validate_json(text)
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            raise ConfigurationError(
                f"not a record of a plan: {first['msg']} at {first['loc']}"
            ) from None
        if [part.rank for part in record.plan.ranks] != list(range(record.plan.world_size)):
            raise ConfigurationError("not a record of a plan: its ranks are not 0, 1, 2 and so on")
        if len(record.plan.rank_of) != sum(len(part.shards) for part in record.plan.ranks):
            raise ConfigurationError("not a record of a plan: two ranks have the same shard")
        return record


_RECORD: TypeAdapter[Record] = TypeAdapter(Record)
