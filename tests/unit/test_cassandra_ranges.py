"""Token ranges and their texts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.databases.cassandra.ranges import (
    FIRST,
    LAST,
    RING,
    TokenRange,
    format_range,
    parse_range,
)
from insitu.errors import ConfigurationError

TOKENS = st.integers(FIRST, LAST)
RANGES = (
    st.tuples(TOKENS, TOKENS)
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: TokenRange(min(pair), max(pair)))
)


@given(RANGES)
def test_a_range_survives_its_text(tokens: TokenRange) -> None:
    assert parse_range(format_range(tokens)) == tokens


@pytest.mark.parametrize("text", ["", "1", "1:1", "2:1", "a:b", "1:2:3", f"0:{LAST + 1}", "1 :2"])
def test_what_is_no_range_is_refused_with_the_form_it_should_have(text: str) -> None:
    with pytest.raises(ConfigurationError, match="start:end"):
        parse_range(text)


def test_the_start_is_outside_and_the_end_inside() -> None:
    assert 1 not in TokenRange(1, 3)
    assert 3 in TokenRange(1, 3)


def test_the_ring_holds_every_token_a_row_can_have() -> None:
    assert FIRST + 1 in RING
    assert LAST in RING


@given(RANGES, st.lists(TOKENS))
def test_parts_cover_their_range_once(tokens: TokenRange, at: list[int]) -> None:
    parts = tokens.cut(at)
    assert sum(part.width for part in parts) == tokens.width
    assert (parts[0].start, parts[-1].end) == (tokens.start, tokens.end)
    assert all(one.end == other.start for one, other in itertools.pairwise(parts))


@given(RANGES, RANGES, TOKENS)
def test_common_tokens_are_those_in_both(one: TokenRange, other: TokenRange, token: int) -> None:
    common = one.common(other)
    assert (common is not None and token in common) == (token in one and token in other)
