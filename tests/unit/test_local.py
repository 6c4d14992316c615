"""The local backend: real processes, real signals, no database and no torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from insitu.api import ConditionType, Reason, Spec, load_manifest
from insitu.checkpoint.log import CommitLog, Writer
from insitu.checkpoint.store import open_store
from insitu.data.cursor import Cursor
from insitu.errors import ConfigurationError, DatabaseUnavailable, OtherJob
from insitu.progress import Heartbeat, HeartbeatReply
from insitu_operator.local.commits import Start
from insitu_operator.local.environment import command_line, expand, user_environment
from insitu_operator.local.folder import JobFolder
from insitu_operator.local.heartbeats import HeartbeatServer
from insitu_operator.local.prepare import prepare
from insitu_operator.local.run import Snapshot
from insitu_operator.local.secret_files import secret_files
from tests.unit.job_builders import START
from tests.unit.local_builders import Answers, Followed, gone, manifest, start

WAITS_FOR_SIGTERM = """
    import signal, sys
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(79))
    print("ready", flush=True)
    while True:
        signal.pause()
"""

COMMITS = """
    import os
    from datetime import UTC, datetime
    from insitu.checkpoint import CommitLog, open_store
    from insitu.contract import from_environ
    from insitu.data import Cursor
    from insitu.data.identity import Origin
    mine = from_environ(os.environ)
    if mine.rank == 0:
        log, now = CommitLog(open_store(mine.checkpoint.store), mine.job), datetime.now(UTC)
        me, origin = f"process {os.getpid()}", Origin(mine.run)
        writer = log.fence(mine.generation, writer=me, time=now, origin=origin)
        writer.commit(Cursor(step=mine.generation), (), world_size=mine.world_size, time=now)
"""


def ready(snapshot: Snapshot, path: Path) -> bool:
    """Every rank of the newest generation has printed something."""
    record = snapshot.observed.record
    if record is None or len(snapshot.pids) < record.plan.world_size:
        return False
    folder = JobFolder(path.parent / ".insitu" / "small")
    logs = [folder.log(record.generation, rank) for rank in range(record.plan.world_size)]
    return all(log.exists() and "ready" in log.read_text() for log in logs)


def once(
    condition: Callable[[Snapshot], bool], act: Callable[[], None]
) -> Callable[[Snapshot], None]:
    done: list[bool] = []

    def react(snapshot: Snapshot) -> None:
        if not done and condition(snapshot):
            done.append(True)
            act()

    return react


def test_each_rank_gets_its_own_assignment_and_the_job_completes(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        """
        import json, os, pathlib
        from insitu.contract import from_environ
        mine = from_environ(os.environ)
        said = [mine.rank, mine.world_size, mine.node.id, [s.id for s in mine.shards], mine.rows]
        pathlib.Path(f"rank-{os.environ['RANK']}.json").write_text(json.dumps(said))
        """,
    )
    follow = Followed()
    prepared, outcome = start(path, follow)
    assert outcome.status.is_true(ConditionType.COMPLETE)
    said = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert [(rank, world, rows) for rank, world, _, _, rows in said] == [(0, 2, 40), (1, 2, 40)]
    assert sorted(shard for _, _, _, shards, _ in said for shard in shards) == ["0", "1", "2", "3"]
    assert prepared.folder.read_status() == outcome.status
    assert gone(follow.pids)


def test_a_crash_is_tried_again_and_reported_with_its_last_lines(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        """
        import sys
        print("the pixels are wrong", file=sys.stderr)
        sys.exit(3)
        """,
        failurePolicy={"backoffLimit": 1},
    )
    _, outcome = start(path, Followed())
    failed = outcome.status.condition(ConditionType.FAILED)
    assert failed
    assert failed.reason is Reason.BACKOFF_LIMIT_EXCEEDED
    assert "exit code 3" in failed.message
    assert "the pixels are wrong" in failed.message
    assert outcome.status.generation == 2


def test_a_killed_rank_starts_all_ranks_again(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        """
        import os, signal, sys
        if os.environ["INSITU_GENERATION"] == "1":
            if os.environ["RANK"] == "1":
                os.kill(os.getpid(), signal.SIGKILL)
            sys.exit(75)
        """,
    )
    _, outcome = start(path, Followed())
    assert outcome.status.is_true(ConditionType.COMPLETE)
    assert (outcome.status.generation, outcome.status.restarts) == (2, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_ranks_leave(tmp_path: Path, number: signal.Signals) -> None:
    path = manifest(tmp_path, WAITS_FOR_SIGTERM)
    follow = Followed()
    follow.react = once(lambda s: ready(s, path), lambda: signal.raise_signal(number))
    _, outcome = start(path, follow)
    assert outcome.interrupted
    assert outcome.status.is_true(ConditionType.SUSPENDED)
    assert {w.exit_code for s in follow.seen for w in s.observed.workers} == {None, 79}
    assert gone(follow.pids)


def test_the_second_signal_kills_them(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        """
        import signal
        signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
        print("ready", flush=True)
        while True:
            signal.pause()
        """,
    )
    follow = Followed()
    children: set[int] = set()

    def interrupt_twice() -> None:
        me = psutil.Process()
        children.update(child.pid for child in me.children(recursive=True))
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    follow.react = once(lambda s: ready(s, path), interrupt_twice)
    _, outcome = start(path, follow)
    assert outcome.interrupted
    assert len(children) >= 4
    assert gone(children)


def test_no_process_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    path = manifest(tmp_path, WAITS_FOR_SIGTERM)
    runner = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.local_builders", str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with runner:
        assert runner.stdout
        for line in runner.stdout:
            event = json.loads(line)
            if event["event"] == "job" and event["status"] == "Running":
                break
        children = {child.pid for child in psutil.Process(runner.pid).children(recursive=True)}
        runner.kill()
    assert len(children) >= 2
    assert gone(children)


def test_a_lost_database_node_ends_the_generation_and_the_next_has_fewer_ranks(
    tmp_path: Path,
) -> None:
    path = manifest(
        tmp_path,
        """
        import os, signal, sys
        if os.environ["WORLD_SIZE"] == "1":
            sys.exit(0)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(79))
        print("ready", flush=True)
        while True:
            signal.pause()
        """,
    )
    database = Answers()
    follow = Followed(once(lambda s: ready(s, path), lambda: setattr(database, "nodes", "a")))
    _, outcome = start(path, follow, database)
    assert outcome.status.is_true(ConditionType.COMPLETE)
    assert outcome.status.generation == 2
    assert outcome.status.workers.desired == 1


def test_a_database_that_is_away_for_too_long_fails_the_start(tmp_path: Path) -> None:
    path = manifest(tmp_path, "", startDeadlineSeconds=1)
    database = Answers(error=DatabaseUnavailable("127.0.0.1:10800 refuses the connection"))
    _, outcome = start(path, Followed(), database)
    failed = outcome.status.condition(ConditionType.FAILED)
    assert failed
    assert failed.reason is Reason.START_DEADLINE_EXCEEDED
    assert "127.0.0.1:10800 refuses" in failed.message


def test_an_unknown_table_ends_a_local_run_at_once(tmp_path: Path) -> None:
    database = Answers(error=ConfigurationError("there is no cache 'T' (did you mean 'TT'?)"))
    _, outcome = start(manifest(tmp_path, ""), Followed(), database)
    stalled = outcome.status.condition(ConditionType.STALLED)
    assert stalled
    assert stalled.message == "there is no cache 'T' (did you mean 'TT'?)"


class TestBeginning:
    def commit(self, path: Path, step: int = 5) -> Writer:
        prepared = prepare(path, None, {})
        log = CommitLog(open_store(prepared.store), prepared.name)
        writer = log.fence((log.generation() or 0) + 1, writer=f"writer-{step}", time=START)
        writer.commit(Cursor(step=step), (), world_size=1, time=START)
        return writer

    def test_earlier_commits_are_neither_used_nor_lost_by_accident(self, tmp_path: Path) -> None:
        path = manifest(tmp_path, "")
        self.commit(path)
        with pytest.raises(ConfigurationError, match=r"step 5.*--resume.*--fresh"):
            start(path, Followed())

    def test_resume_goes_on_in_a_higher_generation(self, tmp_path: Path) -> None:
        path = manifest(tmp_path, "")
        self.commit(path)
        _, outcome = start(path, Followed(), how=Start.RESUME)
        assert outcome.status.generation == 2
        assert outcome.status.checkpoint
        assert outcome.status.checkpoint.step == 5

    def test_fresh_begins_beside_them_and_an_old_writer_stays_shut_out(
        self, tmp_path: Path
    ) -> None:
        path = manifest(tmp_path, COMMITS)
        old = self.commit(path)
        prepared, outcome = start(path, Followed(), how=Start.FRESH)
        assert outcome.status.is_true(ConditionType.COMPLETE)
        log = CommitLog(open_store(prepared.store), prepared.name)
        runs = [commit.origin.run for commit in log.commits()]
        assert runs == ["", prepared.folder.read_run()]
        with pytest.raises(OtherJob, match=f"another job .uid {runs[1]}"):
            old.commit(Cursor(step=6), (), world_size=1, time=START)

    def test_resume_goes_on_with_the_run_that_came_last(self, tmp_path: Path) -> None:
        path = manifest(tmp_path, COMMITS)
        prepared, _ = start(path, Followed())
        for how in (Start.RESUME, Start.FRESH, Start.RESUME):
            start(path, Followed(), how=how)
        log = CommitLog(open_store(prepared.store), prepared.name)
        first, second, third, fourth = (commit.origin.run for commit in log.commits())
        assert (first, third) == (second, fourth)
        assert first != third

    def test_the_store_knows_the_run_where_the_folder_does_not(self, tmp_path: Path) -> None:
        path = manifest(tmp_path, COMMITS)
        prepared, _ = start(path, Followed())
        run = prepared.folder.read_run()
        (prepared.folder.path / "uid").unlink()
        start(path, Followed(), how=Start.RESUME)
        assert prepared.folder.read_run() == run

    def test_a_commit_to_begin_from_says_what_to_do_with_the_others(self, tmp_path: Path) -> None:
        path = manifest(tmp_path, COMMITS, checkpoint={"resumeFrom": 1})
        self.commit(path)
        _, outcome = start(path, Followed())
        assert outcome.status.is_true(ConditionType.COMPLETE)

    def test_a_failed_run_can_be_resumed(self, tmp_path: Path) -> None:
        path = manifest(tmp_path, "raise SystemExit(64)")
        _, outcome = start(path, Followed())
        assert outcome.status.is_true(ConditionType.FAILED)
        (tmp_path / "train.py").write_text("")
        _, outcome = start(path, Followed(), how=Start.RESUME)
        assert outcome.status.is_true(ConditionType.COMPLETE)
        assert outcome.status.generation == 2

    def test_a_job_runs_once_at_a_time(self, tmp_path: Path) -> None:
        folder = JobFolder(tmp_path / "job")
        with (
            folder.locked(),
            pytest.raises(ConfigurationError, match=f"process {os.getpid()}"),
            folder.locked(),
        ):
            raise AssertionError
        with folder.locked():
            """The lock is free again."""


class TestHeartbeats:
    def post(self, url: str, heartbeat: Heartbeat) -> HeartbeatReply:
        request = urllib.request.Request(url, heartbeat.model_dump_json().encode(), method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return HeartbeatReply.model_validate_json(answer.read())

    def test_the_answer_is_the_current_generation(self) -> None:
        with HeartbeatServer("digits") as server:
            server.advance(4)
            beat = Heartbeat(job="digits", generation=3, rank=1)
            assert self.post(server.url, beat).generation == 4
            assert server.newest(3, 1) == beat
            assert server.newest(4, 1) is None

    def test_another_jobs_heartbeat_is_not_kept(self) -> None:
        with HeartbeatServer("digits") as server:
            with pytest.raises(urllib.error.HTTPError, match="403") as refused:
                self.post(server.url, Heartbeat(job="letters", generation=3, rank=1))
            refused.value.close()
            assert server.newest(3, 1) is None

    def test_without_the_secret_path_nothing_is_taken(self) -> None:
        with HeartbeatServer("digits") as server:
            url = server.url.rsplit("/", 1)[0] + "/"
            with pytest.raises(urllib.error.HTTPError, match="404") as refused:
                self.post(url, Heartbeat(job="digits", generation=1, rank=0))
            refused.value.close()


class TestEnvironment:
    def spec(self, folder: Path, **trainer: object) -> Spec:
        given: dict[str, object] = {"command": ["python", "x.py"], **trainer}
        return load_manifest(manifest(folder, "", trainer=given)).spec

    def test_references_are_expanded_as_in_a_pod(self) -> None:
        values = {"A": "1", "B": "$(A)"}
        assert expand("$(A) $$(A) $(B) $(NO) $A", values) == "1 $(A) $(A) $(NO) $A"

    def test_the_command_sees_variables_and_insitus_own(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path, args=["--rank=$(RANK)", "--lr=$(LR)"])
        line = command_line(spec, {"RANK": "3", "LR": "0.1"})
        assert line == ["python", "x.py", "--rank=3", "--lr=0.1"]

    def test_a_secrets_key_becomes_a_variable(self, tmp_path: Path) -> None:
        (tmp_path / "secrets" / "api").mkdir(parents=True)
        (tmp_path / "secrets" / "api" / "token").write_text("s3cret\n")
        reference = {"secretKeyRef": {"name": "api", "key": "token"}}
        spec = self.spec(
            tmp_path,
            env=[{"name": "TOKEN", "valueFrom": reference}, {"name": "H", "value": "x$(TOKEN)"}],
        )
        found = user_environment(spec, secret_files(tmp_path, {}))
        assert found == {"TOKEN": "s3cret", "H": "xs3cret"}

    def test_a_missing_secret_is_named_with_the_folder_that_was_looked_for(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(ConfigurationError, match=r"secret 'db'.*secrets/db.*--secret db="):
            secret_files(tmp_path, {})("db")
