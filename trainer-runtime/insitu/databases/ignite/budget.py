"""How many bytes of pages one reader has asked for, or holds and has not handed out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Budget:
    """`total` bytes; a page that somebody waits for may always be asked for in the end.

    Pages ahead of need leave room for one of `reserve` bytes. A page that turns out larger than
    asked for can exceed the total; then one awaited page at a time goes over it, because pages
    that nobody takes yet would otherwise hold up the one that is awaited, for ever.
    """

    total: int
    reserve: int
    used: int = 0
    asked: int = 0

    def admits(self, size: int, *, awaited: bool) -> bool:
        """Whether a page of `size` bytes may be asked for now."""
        room = self.total - self.used - (0 if awaited else self.reserve)
        return size <= room or not self.used or (awaited and not self.asked)

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
