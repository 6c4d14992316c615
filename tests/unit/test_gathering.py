"""What is known of a job's pods from one look to the next."""

from __future__ import annotations

from datetime import timedelta

import pytest

from insitu_operator.core.objects.owners import Json
from insitu_operator.core.objects.pods import PodTimes
from insitu_operator.core.observed import Worker
from insitu_operator.shell.reconciling.gathering import workers
from tests.unit.pod_builders import NOW, ended, node, running, states

HOUR = timedelta(hours=1)


def look(
    *pods: Json, after: float = 0.0, known: dict[str, PodTimes] | None = None
) -> tuple[tuple[Worker, ...], dict[str, PodTimes]]:
    now = NOW + timedelta(seconds=after)
    return workers(pods, states(node()), lambda _generation, _rank: None, now, known or {})


def ended_at(finished: str) -> Json:
    thing = ended(1)
    thing["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = finished
    return thing


@pytest.mark.parametrize("clock", [-HOUR, timedelta(), HOUR], ids=["behind", "right", "ahead"])
def test_an_end_is_when_it_was_first_seen_whatever_the_clock_of_the_machine_says(
    clock: timedelta,
) -> None:
    thing = ended_at((NOW + clock).isoformat())
    (first,), known = look(thing, after=2)
    (second,), _ = look(thing, after=50, known=known)
    assert first.ended_at == second.ended_at == NOW + timedelta(seconds=2)


@pytest.mark.parametrize("clock", [-3600.0, 0.0, 3600.0], ids=["behind", "right", "ahead"])
def test_a_pod_has_its_whole_grace_whatever_the_clock_of_the_api_server_says(clock: float) -> None:
    thing = running(leaving=clock + 30)
    (asked,), known = look(thing)
    assert asked.living
    assert asked.lost_at == NOW + timedelta(seconds=40)
    (late,), _ = look(thing, after=39, known=known)
    assert late.living
    (lost,), _ = look(thing, after=40, known=known)
    assert (lost.living, lost.disrupted) == (False, True)


def test_what_was_seen_of_pods_that_are_gone_is_forgotten() -> None:
    _, known = look(ended(1), running(1))
    assert len(look(running(1), known=known)[1]) == 1
