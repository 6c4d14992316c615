"""The `insitu` command: what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from insitu import databases
from insitu.progress import Progress
from insitu_operator.cli import main
from insitu_operator.cli.events import changes
from insitu_operator.cli.load import quoted_columns
from insitu_operator.cli.show import LiveTable
from insitu_operator.local.run import Snapshot
from tests.unit.job_builders import Scene
from tests.unit.local_builders import manifest


@pytest.fixture(autouse=True)
def _answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of Ignite, a database with the nodes a and b that only says who owns what."""
    monkeypatch.setitem(databases._KINDS, "ignite", "tests.unit.local_builders")


def insitu(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def events(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


class TestWrongInput:
    @pytest.mark.parametrize("command", ["plan", "run"])
    def test_a_manifests_faults_end_with_2_and_no_traceback(
        self, tmp_path: Path, command: str
    ) -> None:
        path = manifest(tmp_path, "", placement={"localty": "Required"}, suspend="no")
        result = insitu(command, path)
        assert result.exit_code == 2
        assert "spec.placement.localty: unknown field (did you mean 'locality'?)" in result.stderr
        assert "spec.suspend: must be true or false, not 'no'" in result.stderr
        assert "Traceback" not in result.output

    def test_a_missing_file(self, tmp_path: Path) -> None:
        result = insitu("run", tmp_path / "none.yaml")
        assert result.exit_code == 2
        assert "none.yaml does not exist" in result.stderr

    def test_a_service_needs_kubernetes(self, tmp_path: Path) -> None:
        data = {"ignite": {"service": {"name": "ignite", "port": 10800}, "cache": "T"}}
        result = insitu("plan", manifest(tmp_path, "", data=data))
        assert result.exit_code == 2
        assert "spec.data needs endpoints" in result.stderr

    def test_a_suspended_job_is_not_run(self, tmp_path: Path) -> None:
        result = insitu("run", manifest(tmp_path, "", suspend=True))
        assert result.exit_code == 2
        assert "spec.suspend is true; set it to false" in result.stderr

    def test_a_missing_secret(self, tmp_path: Path) -> None:
        data = {"ignite": {"endpoints": ["h:1"], "cache": "T", "credentials": {"secretName": "db"}}}
        result = insitu("plan", manifest(tmp_path, "", data=data))
        assert result.exit_code == 2
        assert "secret 'db' is not there" in result.stderr

    def test_options_that_contradict_each_other(self, tmp_path: Path) -> None:
        result = insitu("run", manifest(tmp_path, ""), "--resume", "--fresh")
        assert result.exit_code == 2
        assert "contradict each other" in result.stderr

    def test_a_secret_without_folder(self, tmp_path: Path) -> None:
        result = insitu("plan", manifest(tmp_path, ""), "--secret", "db")
        assert result.exit_code == 2
        assert "expected NAME=DIR" in result.stderr


class TestPlan:
    def test_it_is_a_table(self, tmp_path: Path) -> None:
        result = insitu("plan", manifest(tmp_path, ""))
        assert result.exit_code == 0
        for text in ("rank", "database node", "host-a:10800", "shards", "20", "100%"):
            assert text in result.stdout

    def test_it_is_json_for_machines(self, tmp_path: Path) -> None:
        result = insitu("plan", manifest(tmp_path, ""), "-o", "json")
        plan = json.loads(result.stdout)
        assert [rank["databaseNode"] for rank in plan["ranks"]] == ["a", "b"]
        assert sorted(s for rank in plan["ranks"] for s in rank["shards"]) == ["0", "1", "2", "3"]
        assert plan["rows"] == 40


class TestRun:
    def test_a_complete_job_ends_with_0(self, tmp_path: Path) -> None:
        result = insitu("run", manifest(tmp_path, ""))
        assert result.exit_code == 0, result.output
        assert "plan of generation 1: 2 ranks" in result.stdout
        assert "rank 1 beside b: Succeeded" in result.stdout
        assert "small: Complete after" in result.stdout

    def test_a_failed_job_ends_with_1_and_the_scripts_last_lines(self, tmp_path: Path) -> None:
        script = "import sys; sys.exit('the loss is NaN')"
        path = manifest(tmp_path, script, failurePolicy={"backoffLimit": 0})
        result = insitu("run", path)
        assert result.exit_code == 1
        assert "ended with exit code 1" in result.stdout
        assert "the loss is NaN" in result.stdout
        assert f"logs: {tmp_path / '.insitu' / 'small' / 'logs'}" in result.stdout

    def test_every_line_of_json_is_an_event(self, tmp_path: Path) -> None:
        # A script that ends before anybody looks was never seen running.
        script = """
            import json, pathlib, time
            status = pathlib.Path(".insitu/small/status.json")
            while json.loads(status.read_text())["workers"]["running"] < 2:
                time.sleep(0.02)
        """
        found = events(insitu("run", manifest(tmp_path, script), "-o", "json"))
        kinds = [event["event"] for event in found]
        assert {"plan", "worker", "job", "end"} <= set(kinds)
        assert kinds[-1] == "end"
        assert found[-1]["state"] == "Complete"
        assert {e["pid"] for e in found if e["event"] == "worker" and e["state"] == "Running"}

    def test_the_store_may_be_elsewhere(self, tmp_path: Path) -> None:
        result = insitu("run", manifest(tmp_path, ""), "-o", "json", "--store", tmp_path / "kept")
        assert events(result)[-1]["store"] == f"file://{tmp_path / 'kept'}"


class TestCheckpoints:
    def test_a_job_without_commits(self, tmp_path: Path) -> None:
        result = insitu("checkpoints", manifest(tmp_path, ""))
        assert result.exit_code == 0
        assert "small: no commits" in result.stdout

    def test_a_job_of_a_cluster_whose_database_is_not_in_reach(self, tmp_path: Path) -> None:
        data = {"ignite": {"service": {"name": "ignite", "port": 10800}, "cache": "T"}}
        job = manifest(tmp_path, "", data=data)
        result = insitu("checkpoints", job, "--store", tmp_path / "kept")
        assert result.exit_code == 0
        assert "small: no commits" in result.stdout

    def test_a_folder_that_is_no_store(self, tmp_path: Path) -> None:
        result = insitu("checkpoints", tmp_path)
        assert result.exit_code == 2
        assert "no store of checkpoints" in result.stderr


def snapshot(scene: Scene) -> Snapshot:
    assert scene.last
    return Snapshot(
        scene.now, scene.observed(), scene.job.status, scene.last.actions, {0: 4242}, False
    )


PROGRESS = Progress(
    epoch=1, epochs=4, step=30, rows=20, rows_total=60, percent=33, eta_seconds=80, updated=1.0
)


def test_the_live_table_shows_ranks_progress_and_checkpoint() -> None:
    scene = Scene().started().reports(PROGRESS).commits(20).tick()
    console = Console(force_terminal=True, width=120, record=True)
    with LiveTable("digits", console) as show:
        show.update(snapshot(scene))
    shown = console.export_text()
    for text in ("digits", "Running", "3/3 local", "33%", "step 30", "last checkpoint: step 20"):
        assert text in shown
    assert "4242" in shown


def test_nothing_new_is_no_event() -> None:
    scene = Scene().started().reports(PROGRESS).tick()
    first = snapshot(scene)
    assert list(changes(None, first))
    assert not list(changes(first, snapshot(scene.tick())))


@pytest.mark.parametrize(
    ("kind", "columns", "said"),
    [
        ("ignite", ["ID", "label"], 'around "label", as in "label" of table t'),
        ("ignite", ["ID", "LABEL"], None),
        ("cassandra", ["id", "Label"], 'around "Label", as in "Label" of table t'),
        ("cassandra", ["id", "a b"], 'around "a b", as in "a b" of table t'),
        ("cassandra", ["id", "label"], None),
    ],
)
def test_a_load_says_which_columns_need_quotes(
    kind: str, columns: list[str], said: str | None
) -> None:
    note = quoted_columns(kind, "t", columns)
    assert (note or "").endswith(said or "")
    assert (note is None) == (said is None)
