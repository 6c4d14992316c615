"""What the ranks of one job have told: the last word of each. The same in a cluster and locally."""

from __future__ import annotations

import enum

from insitu.progress import MOST_AHEAD, Heartbeat, HeartbeatReply


class News(enum.Enum):
    """What a heartbeat tells that was not known.

    A TURN is worth a look at the job at once: a rank was heard for the first time, changed its
    state, ended, or met a newer generation. PROGRESS can wait.
    """

    NOTHING = enum.auto()
    PROGRESS = enum.auto()
    TURN = enum.auto()


class Ranks:
    """The ranks of a job's current generation, and of the one before while it ends."""

    def __init__(self) -> None:
        self._generation = 0
        self._log_generation = 0
        self._newest: dict[tuple[int, int], Heartbeat] = {}
        self._living: set[tuple[int, int]] = set()

    @property
    def generation(self) -> int:
        """The current one, which all ranks hear of; 0 when it is not known yet."""
        return self._generation

    @generation.setter
    def generation(self, generation: int) -> None:
        self._generation = max(generation, self._generation)
        for old in [place for place in self._newest if self._is_over(place)]:
            del self._newest[old]
            self._living.discard(old)

    @property
    def log_generation(self) -> int:
        """The highest generation that any rank has met in the log of commits."""
        return self._log_generation

    @property
    def living(self) -> int:
        """How many ranks were heard and have not told their end."""
        return len(self._living)

    def newest(self, generation: int, rank: int) -> Heartbeat | None:
        """What the rank last told, if it has."""
        return self._newest.get((generation, rank))

    def take(self, heartbeat: Heartbeat) -> News:
        """Keeps it, unless it comes too late: after the rank's end, or its generation's."""
        place = (heartbeat.generation, heartbeat.rank)
        before = self._newest.get(place)
        if self._is_over(place) or (before and before.exit_code is not None):
            return News.NOTHING
        self._newest[place] = heartbeat
        if heartbeat.exit_code is None:
            self._living.add(place)
        else:
            self._living.discard(place)
        met = heartbeat.progress.log_generation if heartbeat.progress else 0
        if met > heartbeat.generation + MOST_AHEAD:
            met = 0  # No log can be that far: the next plan would have a number that no status has.
        overtaken = met > max(self._log_generation, heartbeat.generation)
        self._log_generation = max(met, self._log_generation)
        if overtaken or _state(heartbeat) != _state(before):
            return News.TURN
        return News.PROGRESS if heartbeat != before else News.NOTHING

    def reply(self, heartbeat: Heartbeat, every_seconds: float) -> HeartbeatReply:
        """Names the rank's own generation where no newer one is known."""
        generation = max(self._generation, heartbeat.generation)
        return HeartbeatReply(generation=generation, every_seconds=every_seconds)

    def _is_over(self, place: tuple[int, int]) -> bool:
        return place[0] < self._generation - 1


def _state(heartbeat: Heartbeat | None) -> tuple[bool, str | None, int | None]:
    if heartbeat is None:
        return False, None, None
    progress = heartbeat.progress
    return True, progress.state if progress else None, heartbeat.exit_code
