"""A job's status is written, if not all of it then what ends the job."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from insitu.api import Status, TrainingJob
from insitu_operator.kubernetes import Api, ApiProblem, Json
from insitu_operator.kubernetes.paths import target
from insitu_operator.shell.reconciling.herald import Herald
from insitu_operator.shell.reconciling.reporter import Reporter
from insitu_operator.shell.watching.sight import Sight
from tests.unit.job_builders import START, Scene
from tests.unit.test_status import REPORT


class Picky:
    """An API server that takes no status with any of some fields."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.status: Json = {}

    async def merge(self, path: str, body: Json) -> Json:
        status = body["status"]
        messages = any(c.get("message") for c in status["conditions"])
        metrics = (status.get("trainerStatus") or {}).get("metrics")
        there = {**status, "messages": messages, "metrics": metrics}
        if wrong := [name for name in self.refused if there.get(name)]:
            raise ApiProblem("patch", target(path), 422, "Invalid", f"{wrong[0]}: Invalid value")
        self.status = status
        return {"metadata": {"namespace": "ml", "name": "digits", "uid": "u"}, "status": status}

    async def create(self, _path: str, body: Json) -> Json:
        return body


class Marks:
    def add(self, *_: Any, **__: Any) -> None: ...

    def add_after(self, *_: Any) -> None: ...


def written(api: Picky) -> Json:
    scene = Scene().started().reports(REPORT).tick()
    metadata = {"namespace": "ml", "name": "digits", "uid": "u", "resourceVersion": "1"}
    job: TrainingJob = scene.job.model_copy(update={"status": Status()})
    asked = cast("Api", api)
    reporter = Reporter(asked, Sight(Marks()), Herald(asked, "one"))
    asyncio.run(reporter.say({"metadata": metadata}, job, scene.job.status, START))
    return api.status


@pytest.mark.parametrize("refused", ["metrics", "trainerStatus", "nodes", "messages"])
def test_what_the_api_server_refuses_is_left_out(refused: str) -> None:
    status = written(Picky(refused))
    assert len(status["conditions"]) == 10
    assert status["summary"]["status"] == "Running"
    assert status["generation"] == 1


def test_only_as_much_as_has_to_be_is_left_out() -> None:
    status = written(Picky("metrics"))
    assert status["trainerStatus"]["step"] == REPORT.step
    assert len(status["nodes"]) == 3


def test_a_status_that_is_refused_whatever_it_says_is_an_error() -> None:
    with pytest.raises(ApiProblem, match="conditions: Invalid value"):
        written(Picky("conditions"))
