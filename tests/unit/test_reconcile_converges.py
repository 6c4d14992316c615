"""Whatever happens, in whatever order: a job reaches an end or runs, and never twice at once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.api import Reason
from insitu_operator.core.decision import BindWorkers
from tests.unit.backends import Pods, Processes
from tests.unit.job_builders import Scene

_BACKENDS = st.sampled_from([Processes, Pods])
_CODES = st.sampled_from([0, 1, 64, 65, 69, 74, 75, 76, 77, 79, 137])
_EVENTS = st.one_of(
    st.tuples(st.just("end"), st.integers(0, 2), _CODES),
    st.tuples(st.just("vanish"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("vanish all"), st.just(0), st.just(0)),
    st.tuples(st.just("refuse"), st.booleans(), st.just(0)),
    st.tuples(st.just("nodes"), st.sampled_from(["abc", "ab", "bc", "a", "c"]), st.booleans()),
    st.tuples(st.just("moving"), st.lists(st.integers(0, 5), max_size=2), st.just(0)),
    st.tuples(st.just("unread"), st.sampled_from([*Reason][1:4]), st.just(0)),
    st.tuples(st.just("suspend"), st.booleans(), st.just(0)),
    st.tuples(st.just("commit"), st.integers(0, 50), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 7.0, 100.0]), st.just(0)),
    st.tuples(st.just("tick"), st.integers(1, 3), st.just(0)),
)
_SPECS = st.fixed_dictionaries(
    {
        "placement": st.fixed_dictionaries(
            {"onTopologyChange": st.sampled_from(["Replan", "Ignore", "Fail"])}
        ),
        "failurePolicy": st.fixed_dictionaries({"backoffLimit": st.integers(0, 4)}),
    }
)


def _happen(scene: Scene, event: tuple[str, object, object]) -> None:
    match event:
        case ("end", int(rank), int(code)):
            worker = scene.workers.get(rank)
            if worker and worker.living:
                scene.ends(rank, code)
        case ("vanish", int(rank), _):
            if rank in scene.workers:
                scene.vanishes(rank)
        case ("vanish all", _, _):
            scene.workers.clear()
        case ("refuse", bool(refused), _):
            scene.refused = "the operator may not create batch jobs" if refused else ""
        case ("nodes", str(nodes), bool(lone)):
            scene.wait(0.1).read(nodes, backups=0 if lone else 1)
        case ("moving", list(shards), _):
            scene.wait(0.1).read(moving=shards)
        case ("unread", Reason() as reason, _):
            scene.cannot_read(reason)
        case ("suspend", bool(held), _):
            scene.suspend(held)
        case ("commit", int(step), _):
            scene.commits(step)
        case ("wait", float(seconds), _):
            scene.wait(seconds)
        case ("tick", int(times), _):
            scene.tick(times)


@settings(max_examples=300)
@given(backend=_BACKENDS, spec=_SPECS, events=st.lists(_EVENTS, max_size=30))
def test_any_history_ends_in_rest(
    backend: type[Processes] | type[Pods],
    spec: dict[str, object],
    events: list[tuple[str, object, object]],
) -> None:
    scene = Scene(backend(), **spec).read()
    finished_at_binds: int | None = None
    for event in events:
        _happen(scene, event)
        scene.tick()  # asserts: generations grow, only the recorded plan is bound, one at a time
        if scene.job.status.completion_time and finished_at_binds is None:
            finished_at_binds = scene.did(BindWorkers)
    # The world calms down: the database is well again, nobody holds the job.
    scene.suspend(False)
    scene.refused = ""
    for _ in range(6):
        scene.wait(70).read().settle()
    assert scene.doing in ("Running", "Complete") or scene.doing.startswith("Failed")
    if finished_at_binds is not None:
        assert scene.did(BindWorkers) == finished_at_binds, "a finished job was started again"


@settings(max_examples=200)
@given(backend=_BACKENDS, events=st.lists(_EVENTS, max_size=20))
def test_the_same_view_gives_the_same_decision(
    backend: type[Processes] | type[Pods], events: list[tuple[str, object, object]]
) -> None:
    scene = Scene(backend()).read()
    for event in events:
        _happen(scene, event)
        assert scene.decide() == scene.decide()
        scene.tick()
    scene.refused = ""
    before = scene.settle().observed()
    again = scene.decide()
    assert not again.actions
    assert again.status == before.job.status
