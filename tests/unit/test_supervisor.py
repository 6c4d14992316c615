"""The supervisor on real processes: what goes in comes out, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from insitu.errors import ExitCode
from insitu.progress import Heartbeat, Progress, ProgressFile, read_progress
from insitu.supervisor import masking
from tests.waiting import until

UNTIL_TERM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(79))
print("ready", flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("heard", flush=True))
print("ready", flush=True)
for _ in range(600): time.sleep(0.1)
"""


def test_the_exit_code_is_the_commands_own() -> None:
    assert run("raise SystemExit(7)").returncode == 7


def test_a_signal_that_ended_the_command_is_told_as_a_shell_does() -> None:
    assert run("import os; os.kill(os.getpid(), 9)").returncode == 128 + 9


def test_output_is_passed_on_unchanged() -> None:
    done = run("import sys; print('a\\r\\tb'); sys.stderr.write('no newline'); sys.exit(3)")
    assert (done.stdout, done.stderr) == (b"a\r\tb\n", b"no newline")


def test_a_line_end_in_a_secret_is_left_out_as_where_the_operator_reads_it() -> None:
    show = "import os; print([os.environ[n] for n in ('CASSANDRA_DATASET_PASSWORD', 'OTHER')])"
    done = run(show, CASSANDRA_DATASET_PASSWORD=" s3cret\n", OTHER="as it is\n")
    assert done.stdout == b"[' s3cret', 'as it is\\n']\n"


def test_a_trainer_keeps_arrows_memory_unless_it_is_told_otherwise() -> None:
    show = "import os; print(os.environ['MIMALLOC_PURGE_DELAY'])"
    assert run(show).stdout == b"-1\n"
    assert run(show, MIMALLOC_PURGE_DELAY="10").stdout == b"10\n"


def test_values_of_secrets_are_left_out_of_what_is_told() -> None:
    mask = masking(
        {
            "INSITU_SECRET_VARIABLES": "KEY,LONGER,PEM,SHORT,MISSING",
            "KEY": "s3cret",
            "LONGER": "s3cret-and-more\n",
            "PEM": "-----BEGIN\nMIIBVAIB\n-----END",
            "SHORT": "ab",
            "OTHER": "plain",
        }
    )
    assert mask("is s3cret-and-more than s3cret") == "is <LONGER> than <KEY>"
    assert mask("key MIIBVAIB, ab, plain") == "key <PEM>, ab, plain"


def test_why_a_command_failed_is_left_for_kubernetes_without_secrets(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    script = (
        "import os, sys; from pathlib import Path; from insitu.contract import Reporting\n"
        "from insitu.supervisor import supervise\n"
        f'show = \'import os; print("no login with", os.environ["PASSWORD"]); exit(3)\'\n'
        f"supervise([sys.executable, '-c', show], os.environ, Reporting(), Path({str(log)!r}))"
    )
    secret = {"PASSWORD": "s3cret", "INSITU_SECRET_VARIABLES": "PASSWORD"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | secret, capture_output=True, timeout=60
    )
    assert done.stdout == b"no login with s3cret\n"
    assert log.read_text() == "no login with <PASSWORD>"


def test_an_unknown_command_is_named() -> None:
    done = subprocess.run([*SUPERVISOR, "pyton", "x.py"], capture_output=True, timeout=30)
    assert done.returncode == ExitCode.CONFIGURATION
    assert b"can't start 'pyton'" in done.stderr


def test_without_a_command_the_usage_is_said() -> None:
    done = subprocess.run(SUPERVISOR, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr[:6]) == (ExitCode.CONFIGURATION, b"usage:")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_being_asked_to_stop_reaches_the_command_as_sigterm(number: signal.Signals) -> None:
    with started(UNTIL_TERM) as process:
        process.send_signal(number)
        assert process.wait(timeout=30) == ExitCode.LEFT


def test_asked_twice_a_deaf_command_is_killed() -> None:
    with started(DEAF) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == b"heard\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + 9


def test_what_the_command_started_ends_with_it() -> None:
    done = run(
        "import subprocess, sys\n"
        "sleeper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(sleeper.pid)"
    )
    until(lambda: not alive(int(done.stdout)))


def test_the_command_dies_with_its_supervisor() -> None:
    script = "import os, time; print('ready\\n', os.getpid(), flush=True); time.sleep(60)"
    with started(script) as up:
        assert up.stdout is not None
        child = int(up.stdout.readline())
        up.kill()
        up.wait(timeout=30)
        until(lambda: not alive(child))


def test_heartbeats_hold_the_progress_and_the_last_one_how_it_ended() -> None:
    with operator() as (url, beats):
        done = run(
            "import os, json, sys\n"
            "open(os.environ['INSITU_PROGRESS'], 'w').write(json.dumps({'step': 12}))\n"
            "for line in range(30): print(line)\n"
            "sys.exit(65)",
            INSITU_HEARTBEAT=url,
            INSITU_JOB="digits",
            INSITU_GENERATION="3",
            RANK="2",
        )
    last = beats[-1]
    assert done.returncode == 65
    assert (last.job, last.generation, last.rank, last.exit_code) == ("digits", 3, 2, 65)
    assert last.progress == Progress(step=12)
    assert last.last_lines == tuple(str(line) for line in range(10, 30))


def test_a_newer_generation_asks_the_command_to_leave() -> None:
    script = UNTIL_TERM.replace(
        "print(", "open(os.environ['INSITU_PROGRESS'], 'w').write('{}'); print("
    )
    with operator(newer_once_it_runs=4) as (url, beats):
        done = run(
            "import os" + script, INSITU_HEARTBEAT=url, INSITU_JOB="digits", INSITU_GENERATION="3"
        )
    assert done.returncode == ExitCode.LEFT
    assert b"generation 4 has taken over from 3" in done.stderr
    assert beats[-1].exit_code == ExitCode.LEFT


def test_nobody_at_the_heartbeat_address_disturbs_nothing() -> None:
    done = run("print('trained')", INSITU_HEARTBEAT="http://127.0.0.1:9/heartbeat")
    assert (done.returncode, done.stdout) == (0, b"trained\n")
    assert done.stderr.count(b"the command goes on") == 1


def test_a_heartbeat_address_that_is_none_starts_nothing() -> None:
    done = run("print('started')", INSITU_HEARTBEAT="operator:8080")
    assert (done.returncode, done.stdout) == (ExitCode.CONFIGURATION, b"")


def test_progress_is_written_twice_a_second_and_at_once_on_request(tmp_path: Path) -> None:
    now = [0.0]
    file = ProgressFile(tmp_path / "p.json", clock=lambda: now[0])
    for at, step, at_once in ((0.0, 1, False), (0.4, 2, False), (0.45, 3, True), (0.99, 4, False)):
        now[0] = at
        file.write(lambda step=step: Progress(step=step), at_once=at_once)  # type: ignore[misc]
        found = read_progress(tmp_path / "p.json")
        assert found is not None
        assert found.step == {1: 1, 2: 1, 3: 3, 4: 4}[step]


def test_a_progress_file_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    ProgressFile(tmp_path / "missing" / "p.json").write(Progress)
    assert read_progress(tmp_path / "missing" / "p.json") is None


SUPERVISOR = [sys.executable, "-m", "insitu.supervisor", "--"]


def run(script: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    command = [*SUPERVISOR, sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, timeout=60, env=os.environ | environ)


@contextmanager
def started(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A supervised script that has printed its line with `ready`."""
    with subprocess.Popen(
        [*SUPERVISOR, sys.executable, "-c", script], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def operator(newer_once_it_runs: int = 3) -> Iterator[tuple[str, list[Heartbeat]]]:
    """Somebody who takes heartbeats, and answers with a generation."""
    beats: list[Heartbeat] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            beats.append(Heartbeat.model_validate_json(body))
            generation = newer_once_it_runs if beats[-1].progress else 3
            answer = json.dumps({"generation": generation}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/heartbeat", beats
        finally:
            server.shutdown()
            thread.join()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
