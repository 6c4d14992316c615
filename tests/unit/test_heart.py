"""Heartbeats on their way to a real server: how often, with which token, and what is heard."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from insitu.heartbeat import Heart
from insitu.progress import Heartbeat, HeartbeatReply, Progress
from tests.waiting import until

QUICK = 0.01
BEAT = Heartbeat(job="digits", generation=3, rank=0)


def test_the_token_is_read_for_every_heartbeat(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    with operator() as server, beating(server, token=token):
        until(lambda: "Bearer old" in server.shown)
        token.write_text("renewed")
        until(lambda: "Bearer renewed" in server.shown)


@pytest.mark.parametrize("content", [None, "", "two\nlines", "umlaut \u00e4"])
def test_a_token_that_is_none_is_told_but_not_shown(tmp_path: Path, content: str | None) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content, encoding="utf-8")
    with operator() as server, beating(server, token=token) as heart:
        until(lambda: "the command goes on" in heart.said)
    assert not server.beats
    assert not content or content not in heart.said


def test_a_slower_pace_is_kept_but_a_change_is_told_at_once() -> None:
    with operator(HeartbeatReply(generation=3, every_seconds=1000)) as server:
        with beating(server) as heart:
            until(lambda: heart.asked > 20)
            assert len(server.beats) == 1
            heart.beat = replaced(progress=Progress(state="training"))
            until(lambda: len(server.beats) == 2)
            heart.asked = 0
            until(lambda: heart.asked > 20)
        assert [beat.exit_code for beat in server.beats] == [None, None, 0]


@pytest.mark.parametrize("pace", [0.0, -1.0, float("nan")])
def test_nobody_can_ask_for_more_than_the_usual_pace(pace: float) -> None:
    answer = f'{{"generation": 3, "every_seconds": "{pace}"}}'
    with operator(answer) as server, beating(server) as heart:
        until(lambda: heart.asked > 5)
    assert len(server.beats) <= heart.asked + 1


def test_a_refusal_is_told_in_the_words_of_whoever_refused() -> None:
    with operator(status=403) as server, beating(server) as heart:
        until(lambda: "fail (403 no trainer of digits)" in heart.said)
        server.status = 200
        until(lambda: "arrive again" in heart.said)


def test_a_token_is_not_carried_to_where_an_answer_points(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    with operator() as other, operator(status=302, location=other.url) as server:
        with beating(server, token=token) as heart:
            until(lambda: "fail (302" in heart.said)
        assert not other.shown


def test_a_loss_that_is_no_number_is_told_like_any_other() -> None:
    heartbeat = replaced(progress=Progress(metrics={"loss": float("nan"), "rate": float("inf")}))
    read = Heartbeat.model_validate_json(heartbeat.model_dump_json())
    assert str(read) == str(heartbeat)


@dataclass
class Server:
    """Somebody who takes heartbeats and answers them all alike."""

    answer: HeartbeatReply | str
    status: int
    location: str
    url: str = ""
    beats: list[Heartbeat] = field(default_factory=list)
    shown: list[str | None] = field(default_factory=list)


@contextmanager
def operator(
    answer: HeartbeatReply | str = HeartbeatReply(generation=3),  # noqa: B008 - a value
    *,
    status: int = 200,
    location: str = "",
) -> Iterator[Server]:
    known = Server(answer, status, location)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known.beats.append(Heartbeat.model_validate_json(body))
            known.shown.append(self.headers["Authorization"])
            words = "no trainer of digits" if known.status != 200 else known.answer
            text = words if isinstance(words, str) else words.model_dump_json()
            self.send_response(known.status)
            self.send_header("Location", known.location)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST  # noqa: N815 - the name the base class looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known = replace(known, url=f"http://127.0.0.1:{server.server_address[1]}/")
        thread = threading.Thread(target=server.serve_forever, args=(QUICK,), daemon=True)
        thread.start()
        try:
            yield known
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Beating:
    """What a heart is asked to post, how often it looked, and what it said."""

    beat: Heartbeat = BEAT
    asked: int = 0
    said: str = ""

    def look(self) -> Heartbeat:
        self.asked += 1
        return self.beat

    def hear(self, words: str) -> None:
        self.said += f"{words}\n"


@contextmanager
def beating(server: Server, token: Path | None = None) -> Iterator[Beating]:
    known = Beating()
    heart = Heart(server.url, known.look, say=known.hear, token=token, every_seconds=QUICK)
    heart.start(superseded=lambda: None)
    yield known
    heart.stop(replaced(exit_code=0))


def replaced(**changes: object) -> Heartbeat:
    return BEAT.model_copy(update=changes)
