"""TF_CONFIG is written for every rank, and read from whoever wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from insitu.contract import to_environ
from insitu.contract.tf_config import format_tf_config, read_tf_config
from insitu.errors import ConfigurationError
from tests.ranks import a_job

WORKERS = (("10.0.0.1", 2222), ("fd00::1", 3333), ("c.svc", 1))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_what_is_written_is_read(rank: int) -> None:
    environ = to_environ(a_job(rank=rank, world_size=3, workers=WORKERS), Path("a.json"))
    assert read_tf_config(environ) == (WORKERS, rank)


def test_without_workers_nothing_is_set() -> None:
    environ = to_environ(a_job(), Path("a.json"))
    assert "TF_CONFIG" not in environ
    assert read_tf_config(environ) is None
    assert read_tf_config({"TF_CONFIG": ""}) is None


def test_a_chief_is_the_first_worker() -> None:
    cluster = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    tasks = [("chief", 0), ("worker", 0), ("worker", 1)]
    for rank, (kind, index) in enumerate(tasks):
        text = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
        assert read_tf_config({"TF_CONFIG": text}) == ((("a", 1), ("b", 2), ("c", 3)), rank)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "x"}}',
    ],
)
def test_what_cannot_be_read_is_told_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"TF_CONFIG can't be read .*right would be"):
        read_tf_config({"TF_CONFIG": text})


def test_a_task_that_is_not_in_the_cluster_is_refused() -> None:
    text = format_tf_config([("a", 1)], 3)
    with pytest.raises(ConfigurationError, match="task worker 3 of 1 workers"):
        read_tf_config({"TF_CONFIG": text})
