"""One line of JSON an event, without secrets."""

from __future__ import annotations

import json
import logging
from typing import Any

from insitu_operator.shell.key import Key
from insitu_operator.shell.logs import JsonLines, about


def line(message: str, *arguments: object, **more: Any) -> dict[str, Any]:
    logger = logging.getLogger("insitu_operator.test")
    record = logger.makeRecord(logger.name, logging.INFO, "", 0, message, arguments, **more)
    text = JsonLines().format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_says_which_job_it_is_about() -> None:
    found = line("placed %d", 3, exc_info=None, extra=about(Key("ml", "digits"), 2))
    assert found["message"] == "placed 3"
    assert (found["namespace"], found["job"], found["generation"]) == ("ml", "digits", 2)


def test_an_exception_stays_in_its_line() -> None:
    error = ValueError("first\nsecond")
    found = line("failed", exc_info=(type(error), error, None))
    assert found["error"] == "ValueError: first\nsecond"


def test_tokens_are_left_out() -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
    for text in (f"Authorization: Bearer {token}", f"token={token}"):
        assert token not in json.dumps(line("%s", text, exc_info=None))
