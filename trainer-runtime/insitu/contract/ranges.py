"""Long lists of partition numbers in short: `0-7,12,40-63`."""

from __future__ import annotations

from collections.abc import Iterable

_LARGEST = 65_535
"""Above any partition count a database allows; keeps a typing error from filling the memory."""


def format_ranges(numbers: Iterable[int]) -> str:
    """The shortest text of a set of numbers; `none` for the empty set.

    >>> format_ranges([12, 0, 1, 2])
    '0-2,12'
    """
    parts: list[str] = []
    first = last = None
    for number in sorted(set(numbers)):
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None:
            parts.append(_part(first, last))
        first = last = number
    if first is not None:
        parts.append(_part(first, last))
    return ",".join(parts) or "none"


def parse_ranges(text: str) -> tuple[int, ...] | None:
    """The numbers of `text` in ascending order; None for `-1`, which means all there are.

    Raises:
        ValueError: the text is not such a list, or names a number twice; says which part.
    """
    text = text.strip()
    if text == "-1":
        return None
    if text == "none":
        return ()
    numbers: set[int] = set()
    for part in text.split(","):
        low, dash, high = (piece.strip() for piece in part.partition("-"))
        if not low.isdecimal() or not (high.isdecimal() if dash else not high):
            raise ValueError(f"'{part.strip()}' is no number and no range like 0-7")
        first, last = int(low), int(high) if dash else int(low)
        if last < first:
            raise ValueError(f"the range '{part.strip()}' runs backwards")
        if last > _LARGEST:
            raise ValueError(f"{last} is above the largest partition number, {_LARGEST}")
        piece = set(range(first, last + 1))
        if twice := numbers & piece:
            raise ValueError(f"{min(twice)} is listed twice")
        numbers |= piece
    return tuple(sorted(numbers))


def _part(first: int, last: int | None) -> str:
    return str(first) if last in (None, first) else f"{first}-{last}"
