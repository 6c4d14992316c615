"""What the status of a job says, and how little it moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from insitu.api import ConditionType, Reason, Status
from insitu.errors import AuthenticationError, DatabaseUnavailable, DataLost, InsituError
from insitu.progress import Progress
from insitu.topology import MeasuredLocality, NodeId
from insitu_operator.core.record import Record
from insitu_operator.core.summary import local_share, short_time
from insitu_operator.core.unread import unread
from tests.unit.job_builders import START, Scene, topology

REPORT = Progress(
    epoch=1,
    epochs=4,
    step=30,
    rows=20,
    rows_total=60,
    percent=33.4,
    eta_seconds=80.0,
    metrics={"loss": 0.123456789},
    bytes_local=1000,
    rows_local=27,
    state="training",
    updated=START.timestamp(),
)


def kstatus(scene: Scene) -> str:
    """By the rules of kubernetes-sigs/cli-utils, pkg/kstatus/status/generic.go."""
    if scene.job.status.observed_generation != scene.job.metadata.generation:
        return "InProgress"
    if scene.condition("Reconciling").status == "True":
        return "InProgress"
    return "Failed" if scene.condition("Stalled").status == "True" else "Current"


def test_the_first_status_has_all_conditions_with_the_specs_generation() -> None:
    status = Scene().decide().status
    assert [c.type for c in status.conditions] == list(ConditionType)
    assert all(c.observed_generation == 1 for c in status.conditions)
    assert status.observed_generation == 1


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (Scene().tick(), "InProgress"),
        (Scene().read().tick(), "InProgress"),
        (Scene().started(), "Current"),
        (Scene(suspend=True).settle(), "Current"),
        (Scene().started().ends(0, 64).settle(), "Failed"),
        (Scene().cannot_read(Reason.ACCESS_DENIED).tick(), "Failed"),
        (Scene().started().ends(0, 0).ends(1, 0).ends(2, 0).settle(), "Current"),
    ],
    ids=["new", "planned", "running", "suspended", "failed", "refused", "complete"],
)
def test_tools_that_follow_kstatus_understand_it(scene: Scene, expected: str) -> None:
    assert kstatus(scene) == expected


def test_a_transition_time_moves_only_with_the_status() -> None:
    scene = Scene().tick()
    first = scene.condition("Running").last_transition_time
    scene.wait(10).read().tick(2)
    assert scene.condition("Running").last_transition_time == first
    scene.wait(10).settle()
    assert scene.condition("Running").last_transition_time == scene.now


def test_finished_is_true_in_both_ends() -> None:
    failed = Scene().started().ends(0, 64).settle()
    complete = Scene().started().ends(0, 0).ends(1, 0).ends(2, 0).settle()
    for scene, reason in ((failed, "Failed"), (complete, "Succeeded")):
        assert scene.condition("Finished").status == "True"
        assert scene.condition("Finished").reason == reason


def test_the_columns_of_a_running_job() -> None:
    scene = Scene().started().reports(REPORT).tick()
    summary = scene.job.status.summary
    assert (summary.status, summary.nodes) == ("Running", "3/3 local")
    assert (summary.progress, summary.eta) == ("33%", "80s")


def test_one_remote_byte_is_not_all_local() -> None:
    scene = Scene().started().reports(REPORT.model_copy(update={"bytes_remote": 1}), 0)
    scene.reports(REPORT, 1, 2).tick()
    assert scene.job.status.summary.nodes == "3/3 99% local"


def test_what_generations_before_have_read_stays_counted() -> None:
    scene = Scene().started().reports(REPORT.model_copy(update={"bytes_remote": 50})).tick()
    assert scene.job.status.locality.earlier_bytes_local == 0
    scene.ends(0, 75).ends(1, 137).ends(2, 75).wait(2).read().settle()
    assert scene.job.status.generation == 2
    later = REPORT.model_copy(update={"bytes_local": 7, "updated": REPORT.updated + 10})
    locality = scene.reports(later).tick().job.status.locality
    assert (locality.earlier_bytes_local, locality.earlier_bytes_remote) == (3000, 150)
    assert (locality.bytes_local, locality.bytes_remote) == (21, 0)
    assert local_share(locality) == 3021 / 3171


@pytest.mark.parametrize(
    ("measured", "percent", "column"),
    [
        (None, None, "3/3 local"),
        (MeasuredLocality(1.0), 100, "3/3 local"),
        (MeasuredLocality(0.679, "set it"), 67, "3/3 67% local"),
        (MeasuredLocality(None, "grant it"), None, "3/3 local"),
    ],
)
def test_what_database_nodes_fetch_from_others_is_not_local(
    measured: MeasuredLocality | None, percent: int | None, column: str
) -> None:
    scene = Scene(placement={"locality": "Preferred"})
    scene.read_as(replace(topology(), locality=measured)).started()
    status = scene.reports(REPORT).tick().job.status
    assert status.locality.own_copies_percent == percent
    assert status.summary.nodes == column


def test_trainer_status_speaks_for_all_ranks() -> None:
    status = Scene().started().reports(REPORT).tick().job.status
    trainer = status.trainer_status
    assert trainer
    assert (trainer.epoch, trainer.step, trainer.rows) == (1, 30, 20)
    assert trainer.rows_per_second == 2  # 160 rows in 80 s
    assert [(m.name, m.value) for m in trainer.metrics] == [("loss", "0.123457")]
    assert status.locality.bytes_local == 3000
    assert [n.rows_read for n in status.nodes] == [27, 27, 27]


def test_the_status_follows_the_training_at_most_every_five_seconds() -> None:
    scene = Scene().started().reports(REPORT).tick()
    before = scene.job.status
    soon = REPORT.model_copy(update={"step": 31, "updated": REPORT.updated + 4, "rows_local": 30})
    assert scene.reports(soon).tick().job.status == before
    later = soon.model_copy(update={"updated": REPORT.updated + 5})
    trainer = scene.reports(later).tick().job.status.trainer_status
    assert trainer
    assert trainer.step == 31


def test_a_report_that_comes_too_soon_is_told_later_even_if_no_other_follows() -> None:
    scene = Scene().started().reports(REPORT).tick()
    soon = REPORT.model_copy(update={"step": 31, "updated": REPORT.updated + 1})
    scene.wait(3).reports(soon).tick()
    assert scene.last
    assert scene.last.requeue_after == 2
    told = scene.wait(2).tick()
    assert told.job.status.trainer_status
    assert told.job.status.trainer_status.step == 31
    assert told.last
    assert told.last.requeue_after is None


def test_a_complete_job_is_at_100_percent_with_its_last_numbers() -> None:
    scene = Scene().started().reports(REPORT).tick()
    last = REPORT.model_copy(update={"step": 99, "updated": REPORT.updated + 1, "state": "done"})
    scene.reports(last).ends(0, 0).ends(1, 0).ends(2, 0).settle()
    trainer = scene.job.status.trainer_status
    assert trainer
    assert (trainer.step, trainer.progress_percentage) == (99, 100)
    assert scene.job.status.summary.eta == ""


@pytest.mark.parametrize("gone", [(0,), (0, 2), (0, 1, 2)])
def test_pods_that_are_cleared_away_after_the_end_change_nothing(gone: tuple[int, ...]) -> None:
    scene = Scene().started().reports(REPORT).ends(0, 0).ends(1, 0).ends(2, 0).settle()
    before = scene.job.status
    assert scene.wait(60).again().settle().vanishes(*gone).settle().job.status == before


def test_ranks_that_leave_after_a_failure_are_stopped_and_the_culprit_stays_the_one() -> None:
    scene = Scene().started().ends(1, 64).settle()
    scene.vanishes(*[rank for rank in scene.workers if rank != 1]).settle()
    assert [n.state for n in scene.job.status.nodes] == ["Stopped", "Failed", "Stopped"]
    assert scene.job.status.workers.running == 0


def test_nodes_name_machine_and_rows_of_each_rank() -> None:
    nodes = Scene().started().job.status.nodes
    assert [(n.database_node, n.node, n.shards, n.rows) for n in nodes] == [
        ("a", "host-a", 2, 20),
        ("b", "host-b", 2, 20),
        ("c", "host-c", 2, 20),
    ]


def test_the_first_count_of_rows_stays() -> None:
    scene = Scene().started().read(rows=70).settle()
    assert scene.job.status.rows == 60


def test_a_record_survives_being_written_and_read() -> None:
    record = Scene().started().record
    assert record
    full = replace(record, crashes=2, disruptions=3, fruitless=1, step=40, cause="rank 1 ended")
    assert Record.from_json(full.to_json()) == full


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DatabaseUnavailable("x"), Reason.DATABASE_UNAVAILABLE),
        (AuthenticationError("x"), Reason.ACCESS_DENIED),
        (DataLost("x"), Reason.PARTITIONS_LOST),
        (InsituError("x"), Reason.DATABASE_UNAVAILABLE),
    ],
)
def test_a_failed_reading_has_a_reason(error: InsituError, reason: Reason) -> None:
    assert unread(error).reason is reason


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7500, "2h05m"), (180000, "2d02h")],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert short_time(seconds) == text


class TestWhatComesFromOutside:
    """The API server takes a status whole or not, and the definition says what it takes."""

    @pytest.mark.parametrize(
        "report",
        [
            {"metrics": {f"{'x' * 70}{n}": 1.0 for n in range(3)}},
            {"metrics": {"": 1.0}},
            {"percent": float("nan"), "eta_seconds": float("inf")},
            {"step": -1, "rows": 2**63, "bytes_local": 2**63, "rows_local": -5},
            {"updated": 1e300},
        ],
        ids=["alike", "empty", "no numbers", "no counts", "no time"],
    )
    def test_no_report_makes_it_unwritable(self, report: dict[str, Any]) -> None:
        found = {"updated": START.timestamp(), **report}
        scene = Scene().started().reports(Progress(state="training", **found)).tick()
        told = scene.job.status.trainer_status
        assert told
        assert Status.model_validate(scene.job.status.model_dump()) == scene.job.status
        assert len({m.name for m in told.metrics}) == len(report.get("metrics", ()))

    def test_a_database_nodes_id_may_be_longer_than_the_status_has_room_for(self) -> None:
        scene, long = Scene(), NodeId("10.0.0.1," * 40)
        found = topology(backups=0)
        renamed = {node.id: long if node.id == "a" else node.id for node in found.nodes}
        scene.read_as(
            replace(
                found,
                nodes=tuple(replace(n, id=renamed[n.id]) for n in found.nodes),
                shards=tuple(
                    replace(s, owners=tuple(renamed[o] for o in s.owners)) for s in found.shards
                ),
            )
        )
        scene.machines = {**scene.machines, long: scene.machines["a"]}
        shown = [n.database_node for n in scene.settle().job.status.nodes]
        assert {len(name) for name in shown} == {1, 255}
