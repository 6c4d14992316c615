"""Token ranges: what a shard of Cassandra is, and its text.

Tokens are those of the Murmur3 partitioner, -2**63+1 to 2**63-1; no row has the token -2**63, so
the whole ring is `-9223372036854775808:9223372036854775807`. Ranges never wrap: the one across
the ends of the ring is two.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from insitu.errors import ConfigurationError
from insitu.topology import ShardId

FIRST: Final = -(1 << 63)
"""Below every row's token."""

LAST: Final = (1 << 63) - 1

_TEXT: Final = re.compile(r"(-?\d{1,19}):(-?\d{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class TokenRange:
    """The tokens above `start` up to and including `end`; never empty."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not FIRST <= self.start < self.end <= LAST:
            raise ValueError(f"{self.start}:{self.end} is no range of tokens")

    @property
    def width(self) -> int:
        """How many tokens are in it."""
        return self.end - self.start

    def __contains__(self, token: int) -> bool:
        return self.start < token <= self.end

    def common(self, other: TokenRange) -> TokenRange | None:
        """The tokens that are in both; None if there is none."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return TokenRange(start, end) if start < end else None

    def cut(self, at: Iterable[int]) -> list[TokenRange]:
        """Its parts in ascending order, each but the last ending at one of the tokens `at`."""
        inner = sorted({token for token in at if self.start < token < self.end})
        bounds = [self.start, *inner, self.end]
        return [TokenRange(*pair) for pair in itertools.pairwise(bounds)]


RING: Final = TokenRange(FIRST, LAST)


def format_range(tokens: TokenRange) -> ShardId:
    """The id of the shard with these tokens: `start:end`.

    >>> format_range(TokenRange(-5, 10))
    '-5:10'
    """
    return ShardId(f"{tokens.start}:{tokens.end}")


def parse_range(text: str) -> TokenRange:
    """The inverse of `format_range`.

    Raises:
        ConfigurationError: the text is not such an id, or the range is empty or wraps.
    """
    match = _TEXT.fullmatch(text)
    try:
        if match:
            return TokenRange(int(match[1]), int(match[2]))
    except ValueError:
        pass
    raise ConfigurationError(
        f"'{text}' is no shard of Cassandra: it has to be two tokens, start:end, from {FIRST} to "
        f"{LAST}, with the start below the end"
    )
