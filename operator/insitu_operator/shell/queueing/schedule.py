"""When which key gets its next pass. Pure: time comes in as seconds on one clock.

add ─▶ due ──take──▶ running ──finish──▶ resting ─▶ forgotten
        ▲               │ add: once more  │
        └───────────────┴─────────────────┘
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from insitu_operator.shell.key import Key


class Lane(enum.StrEnum):
    """Fresh events never wait behind what is only checked again."""

    URGENT = "urgent"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds.

    Args:
        gap: A key rests at least this long between two passes.
        first_backoff: Of a key whose pass failed; doubles with each failure.
        longest_backoff: The bound of that.
        failed_gap: News shortens a backoff to this.
    """

    gap: float = 0.25
    first_backoff: float = 0.5
    longest_backoff: float = 30.0
    failed_gap: float = 2.0

    def backoff(self, failures: int, jitter: float) -> float:
        """Before the next try after so many failures in a row; `jitter` in [0, 1) shortens it by
        up to a half, so that keys that failed together don't come back together.
        """
        doubled = self.first_backoff * 2.0 ** min(failures - 1, 30)
        return min(doubled, self.longest_backoff) * (1 - jitter / 2)


@dataclass(slots=True)
class _Entry:
    due: dict[Lane, float] = field(default_factory=dict)
    running: Lane | None = None
    started: float = 0.0
    free_at: float = 0.0
    failures: int = 0


class Schedule:
    """The state of all keys that are due, running or resting."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._entries: dict[Key, _Entry] = {}
        self._due: dict[Lane, list[tuple[float, int, Key]]] = {lane: [] for lane in Lane}
        self._resting: list[tuple[float, Key]] = []
        self._order = 0

    def add(self, key: Key, lane: Lane, at: float) -> None:
        """A pass begins at `at` or, when the key runs or rests then, as soon as it may."""
        entry = self._entries.setdefault(key, _Entry())
        at = max(at, entry.free_at)
        if at < entry.due.get(lane, float("inf")):
            entry.due[lane] = at
            self._order += 1
            heapq.heappush(self._due[lane], (at, self._order, key))

    def take(self, lane: Lane, now: float) -> Key | None:
        """The key of the lane that is due longest, which runs from now on."""
        self._forget(now)
        heap = self._due[lane]
        while heap and heap[0][0] <= now:
            at, _, key = heapq.heappop(heap)
            entry = self._entries.get(key)
            if entry is None or entry.due.get(lane) != at or entry.running is not None:
                continue  # Moved, or done in the meantime; or `finish` puts it back.
            entry.due.clear()
            entry.running, entry.started = lane, now
            return key
        return None

    def finish(self, key: Key, now: float, again: float | None) -> None:
        """Its pass went well, and asks for the next one after so many seconds."""
        entry = self._entries[key]
        entry.failures = 0
        lane = Lane.URGENT
        self._rest(key, now + self._pace.gap, lane, None if again is None else now + again)

    def fail(self, key: Key, now: float, jitter: float) -> float:
        """Its pass failed; it is tried again in its lane. Returns after how many seconds."""
        entry = self._entries[key]
        assert entry.running is not None
        entry.failures += 1
        wait = max(self._pace.gap, self._pace.backoff(entry.failures, jitter))
        self._rest(key, now + min(wait, self._pace.failed_gap), entry.running, now + wait)
        return wait

    def next_due(self, lane: Lane) -> float | None:
        """When `take` may find something next; never too late, sometimes too early."""
        heap = self._due[lane]
        return heap[0][0] if heap else None

    def depth(self, now: float) -> Mapping[Lane, int]:
        """How many keys of each lane are due now."""
        waiting = self._waiting(now)
        return {lane: sum(1 for found, _ in waiting if found is lane) for lane in Lane}

    def longest_wait(self, now: float) -> float:
        """Seconds since the first key that waits could have begun."""
        return max((now - at for _, at in self._waiting(now)), default=0.0)

    def longest_pass(self, now: float) -> float:
        """Seconds since the oldest pass began."""
        running = [entry for entry in self._entries.values() if entry.running is not None]
        return max((now - entry.started for entry in running), default=0.0)

    def __len__(self) -> int:
        return len(self._entries)

    def _rest(self, key: Key, free_at: float, lane: Lane, again: float | None) -> None:
        entry = self._entries[key]
        entry.running, entry.free_at = None, free_at
        heapq.heappush(self._resting, (free_at, key))
        # What was added during the pass has to rest as well.
        added, entry.due = entry.due, {}
        for other, at in added.items():
            self.add(key, other, at)
        if again is not None:
            self.add(key, lane, again)

    def _forget(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            _, key = heapq.heappop(self._resting)
            entry = self._entries.get(key)
            if entry and not entry.due and entry.running is None and entry.free_at <= now:
                del self._entries[key]

    def _waiting(self, now: float) -> list[tuple[Lane, float]]:
        return [
            (lane, at)
            for entry in self._entries.values()
            if entry.running is None
            for lane, at in entry.due.items()
            if at <= now
        ]
