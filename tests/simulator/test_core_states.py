"""Whatever is observed, possible or not: the core decides, and its status can be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insitu.api import Condition, ConditionStatus, ConditionType, Reason, Status
from insitu.api.status import CheckpointStatus
from insitu.progress import Progress
from insitu.topology import NodeId, Topology
from insitu_operator.core.observed import Machine, Observed, Reading, State, Unread, Worker
from insitu_operator.core.planner import plan
from insitu_operator.core.reconcile import reconcile
from insitu_operator.core.record import Record
from insitu_operator.crd import definition
from tests.simulator.schema import complaints
from tests.unit.job_builders import START, job, topology

T = TypeVar("T")

_STATUS = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]

_HUGE = 2**53 - 1
_SECONDS = st.sampled_from([0, -1, 1, 5, -40, 40, -4000, 4000, -(10**8), 10**8])
_TIMES = _SECONDS.map(lambda seconds: START + timedelta(seconds=seconds))
_LATER = _TIMES.filter(lambda time: time > START)
_MAYBE_TIMES = st.none() | _TIMES
_COUNTS = st.sampled_from([0, 1, 2, 3, 4, 10, _HUGE])
_GENERATIONS = st.sampled_from([0, 1, 1, 2, 2, 3, 7, _HUGE])
_CODES = st.sampled_from([None, 0, 1, 64, 65, 69, 74, 75, 76, 77, 79, 137, 255, -1])
_TEXTS = st.sampled_from(["", "why", "a" * 5000, "ä\n\x00\N{SNOWMAN}"])
_NUMBERS = st.sampled_from([0.0, 0.5, -1.0, 99.99, 1e18])

_TOPOLOGIES = st.builds(
    topology,
    st.sampled_from(["abc", "ab", "bc", "a", ""]),
    backups=st.sampled_from([0, 1, 2]),
    rows=st.sampled_from([None, 0, 59, 60, _HUGE]),
    moving=st.lists(st.integers(0, 5), max_size=2),
)
_WHOLE = _TOPOLOGIES.filter(lambda found: not found.orphans and bool(found.nodes))
_READINGS = st.none() | st.builds(Reading, _TOPOLOGIES, _TIMES)
_UNREAD = st.none() | st.builds(Unread, st.sampled_from(list(Reason)), _TEXTS)
_COMMITS = st.none() | st.builds(
    lambda step, time: CheckpointStatus(step=step, time=time, uri="file:///store"),
    _COUNTS,
    _MAYBE_TIMES,
)
_MACHINES = st.dictionaries(
    st.sampled_from("abcx").map(NodeId),
    st.builds(Machine, st.sampled_from(["", "host-a", "m" * 253]), _TEXTS),
)
_PROGRESS = st.builds(
    Progress,
    epoch=_COUNTS,
    epochs=st.none() | _COUNTS,
    step=_COUNTS,
    rows=_COUNTS,
    rows_total=st.none() | _COUNTS,
    percent=st.none() | st.floats(0, 100),
    eta_seconds=st.none() | st.floats(0, 1e12),
    metrics=st.dictionaries(
        st.sampled_from(["loss", "accuracy", "l" * 63]),
        st.sampled_from([0.5, float("nan"), float("inf"), -1e300]),
    ),
    commit=st.none() | _COUNTS,
    commit_step=st.none() | _COUNTS,
    rows_local=_COUNTS,
    rows_remote=_COUNTS,
    state=st.sampled_from(["starting", "training", "leaving", "done"]),
    updated=st.sampled_from([0.0, START.timestamp(), START.timestamp() + 1e8]),
)
_WORKERS = st.builds(
    Worker,
    rank=st.sampled_from([0, 0, 1, 1, 2, 2, 3, 99, _HUGE]),
    state=st.sampled_from(list(State)),
    generation=st.none() | _GENERATIONS,
    machine=st.sampled_from(["", "host-a", "gone"]),
    ended_at=_MAYBE_TIMES,
    exit_code=_CODES,
    last_lines=st.lists(_TEXTS, max_size=2).map(tuple),
    stopping=st.booleans(),
    disrupted=st.booleans(),
    heard=st.booleans(),
    reason=_TEXTS,
    progress=st.none() | _PROGRESS,
    lost_at=st.none() | _LATER,
    lingering=st.booleans(),
)


def _with(model: Callable[..., T], **fields: Any) -> st.SearchStrategy[T]:
    """`st.builds` would take the names on the wire for arguments that are missing."""
    return st.fixed_dictionaries(fields).map(lambda drawn: model(**drawn))


_CONDITIONS = st.lists(
    _with(
        Condition,
        type=st.sampled_from(list(ConditionType)),
        status=st.sampled_from(list(ConditionStatus)),
        reason=st.sampled_from(list(Reason)),
        message=st.sampled_from(["", "it was so"]),
        last_transition_time=_TIMES,
        observed_generation=_COUNTS,
    ),
    unique_by=lambda condition: condition.type,
    max_size=len(ConditionType),
).map(tuple)
_STATUSES = _with(
    Status,
    conditions=_CONDITIONS,
    generation=_GENERATIONS,
    rows=st.none() | _COUNTS,
    restarts=_COUNTS,
    start_time=_MAYBE_TIMES,
    completion_time=_MAYBE_TIMES,
    checkpoint=_COMMITS,
)
_SPECS = st.fixed_dictionaries(
    {
        "placement": st.fixed_dictionaries(
            {
                "onTopologyChange": st.sampled_from(["Replan", "Ignore", "Fail"]),
                "locality": st.sampled_from(["Required", "Preferred", "Ignored"]),
            },
            optional={"maxRanks": st.integers(1, 4)},
        ),
        "failurePolicy": st.fixed_dictionaries(
            {"backoffLimit": st.integers(0, 4), "disruptionLimit": st.integers(0, 4)}
        ),
        "suspend": st.booleans(),
    },
    optional={
        "activeDeadlineSeconds": st.integers(1, 100),
        "startDeadlineSeconds": st.integers(1, 100),
        "ttlSecondsAfterFinished": st.integers(0, 100),
    },
)


def _planned(found: Topology, generation: int, **counts: Any) -> Record:
    made = plan(
        found,
        generation=max(1, generation),
        locality="Preferred",
        previous=None,
        max_ranks=None,
        eligible=None,
    )
    return Record(plan=made, **counts)


_RECORDS = st.none() | st.builds(
    _planned,
    _WHOLE,
    _GENERATIONS,
    at=_TIMES,
    rows=st.sampled_from([None, 0, 60, 61, _HUGE]),
    crashes=_COUNTS,
    disruptions=_COUNTS,
    fruitless=_COUNTS,
    step=_COUNTS,
    cause=_TEXTS,
)


@st.composite
def _views(draw: st.DrawFn) -> Observed:
    spec: dict[str, Any] = draw(_SPECS)
    found = job(uid="u", **spec).model_copy(update={"status": draw(_STATUSES)})
    return Observed(
        job=found,
        record=draw(_RECORDS),
        reading=draw(_READINGS),
        unread=draw(_UNREAD),
        workers=tuple(draw(st.lists(_WORKERS, max_size=6))),
        machines=draw(_MACHINES),
        commit=draw(_COMMITS),
        committed_generation=draw(_GENERATIONS),
        refused=draw(st.sampled_from(["", "", "the quota is used up"])),
        refused_for_good=draw(st.booleans()),
    )


def _decide_twice(observed: Observed, now: datetime) -> None:
    decision = reconcile(observed, now)
    assert reconcile(observed, now) == decision
    written = decision.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert not list(complaints(_STATUS, written))
    assert Status.model_validate(written) == decision.status
    if decision.requeue_after is not None:
        assert decision.requeue_after >= 0
    if decision.requeue_after == 0 and not decision.actions:
        known = replace(observed, job=observed.job.model_copy(update={"status": decision.status}))
        again = reconcile(known, now)
        assert again.actions or again.requeue_after != 0, "it would look again for ever"


@pytest.mark.timeout(3600)
def test_any_view_leads_to_a_decision_whose_status_can_be_written(
    request: pytest.FixtureRequest,
) -> None:
    states = request.config.getoption("--states")
    health = list(HealthCheck)
    checked = settings(max_examples=states, suppress_health_check=health, deadline=None)
    checked(given(_views(), st.just(START))(_decide_twice))()
