"""What one reader may hold: bytes of pages that it has asked for, or has and nobody took yet."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Need(enum.IntEnum):
    """Why a page is asked for: the less its need, the more room it has to leave for others."""

    #: Somebody waits for it.
    AWAITED = 0
    #: Somebody takes pages of that shard, and none is here.
    NEXT = 1
    #: It may be wanted later.
    AHEAD = 2


@dataclass(slots=True)
class Budget:
    """`total` bytes of pages that one reader has asked for, or holds and has not handed out.

    One page of `page` bytes that is awaited always finds room, and so does one for each of
    `connections` that comes next: pages ahead of need never keep a connection from its work. A
    page that turns out larger than asked for can exceed the total; then one awaited page at a time
    goes over it, because pages that nobody takes yet would otherwise hold up the awaited one for
    ever.
    """

    total: int
    page: int
    connections: int = 1
    used: int = 0
    asked: int = 0

    def admits(self, size: int, need: Need) -> bool:
        """Whether a page of `size` bytes may be asked for now."""
        kept = {Need.AWAITED: 0, Need.NEXT: 1, Need.AHEAD: 1 + self.connections}[need]
        fits = size + kept * self.page <= self.total - self.used
        return fits or not self.used or (need is Need.AWAITED and not self.asked)

    def ask(self, size: int) -> None:
        """Counts a page as asked for."""
        self.used += size
        self.asked += 1

    def arrive(self, asked: int, actual: int) -> None:
        """The page that was asked for with `asked` bytes is here, and has `actual` ones."""
        self.used += actual - asked
        self.asked -= 1

    def hand_out(self, size: int) -> None:
        """A page is not held here any more."""
        self.used -= size
