"""Who may take a Lease is decided by the reader's own clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from insitu_operator.kubernetes import Json
from insitu_operator.shell.leading.lease import Seen, Times, micro_time, new_lease

NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)


def stored(version: str = "1", holder: str = "one", seconds: float = 8) -> Json:
    lease = new_lease("operator", holder, seconds, NOW)
    return {**lease, "metadata": {"name": "operator", "resourceVersion": version}}


def test_a_foreign_lease_is_dead_when_it_did_not_change_for_its_duration() -> None:
    seen = Seen(stored(), at=100)
    assert not seen.may_be_taken("two", now=107.9)
    assert seen.may_be_taken("two", now=108)


def test_looking_again_at_the_same_version_does_not_make_it_younger() -> None:
    seen = Seen(stored(), at=100).again(stored(), 107)
    assert seen.may_be_taken("two", now=108)


def test_a_renewal_makes_it_young() -> None:
    seen = Seen(stored(), at=100).again(stored(version="2"), 107)
    assert not seen.may_be_taken("two", now=108)


def test_the_wall_clock_of_the_holder_does_not_matter() -> None:
    ahead = stored()
    ahead["spec"]["renewTime"] = "2099-01-01T00:00:00.000000Z"
    assert Seen(ahead, at=100).may_be_taken("two", now=108)


@pytest.mark.parametrize("holder", ["", "two"])
def test_a_free_lease_and_ones_own_are_taken_at_once(holder: str) -> None:
    assert Seen(stored(holder=holder), at=100).may_be_taken("two", now=100)


def test_a_lease_made_by_hand_is_free() -> None:
    assert Seen({"metadata": {"resourceVersion": "1"}}, at=100).may_be_taken("two", now=100)


def test_taking_over_counts_a_transition_and_renewing_does_not() -> None:
    seen = Seen(stored(), at=100)
    assert seen.taken("two", 8, NOW)["spec"]["leaseTransitions"] == 1
    later = NOW + timedelta(seconds=1)
    renewed = seen.taken("one", 8, later)["spec"]
    assert renewed["leaseTransitions"] == 0
    assert renewed["acquireTime"] == micro_time(NOW)
    assert renewed["renewTime"] == micro_time(later)


def test_every_write_carries_the_version_that_was_read() -> None:
    seen = Seen(stored(version="7"), at=100)
    for written in (seen.taken("two", 8, NOW), seen.released(NOW)):
        assert written["metadata"]["resourceVersion"] == "7"


def test_times_are_utc_with_microseconds_whatever_the_zone() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=5)))
    assert micro_time(east) == micro_time(NOW) == "2026-11-05T12:00:00.000000Z"


@pytest.mark.parametrize("times", [(5, 5, 1), (8, 5, 5), (8, 9, 1), (8, 5, 0)])
def test_times_that_let_two_lead_are_refused(times: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match=re.escape("must grow in this order")):
        Times(*times)
