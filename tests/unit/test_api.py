"""The TrainingJob model, and what the author of a wrong manifest is told."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from insitu.api import (
    ConditionType,
    OnChange,
    Reason,
    TrainingJob,
    data_source,
    load_manifest,
)
from insitu.errors import ConfigurationError
from tests.unit.job_builders import job

LEAST = """
apiVersion: insitu.dev/v1alpha1
kind: TrainingJob
metadata: {name: digits}
spec:
  data:
    ignite: {endpoints: ["127.0.0.1:10800"], cache: DIGITS}
  trainer: {command: [python, train.py]}
"""


def changed(**parts: object) -> str:
    """The least manifest with dotted paths set, `__` for a dot; None removes one."""
    document = yaml.safe_load(LEAST)
    for path, value in parts.items():
        *folders, last = path.split("__")
        here = document
        for folder in folders:
            here = here.setdefault(folder, {})
        if value is None:
            here.pop(last)
        else:
            here[last] = value
    return str(yaml.safe_dump(document))


def complaint(text: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_manifest(text)
    return str(refused.value)


def models(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from models(part, f"{path}.{field.alias or name}")


def _parts(annotation: object) -> Iterator[object]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, typing.Annotated):
        for part in typing.get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def test_the_least_manifest_has_all_defaults() -> None:
    spec = load_manifest(LEAST).spec
    assert spec.data.on_change is OnChange.FAIL
    assert spec.placement.locality == "Required"
    assert (spec.failure_policy.backoff_limit, spec.checkpoint.keep_last) == (3, 3)
    assert not spec.suspend


def test_an_amount_may_be_a_number_as_in_a_pod() -> None:
    text = changed(spec__trainer__resources__limits={"nvidia.com/gpu": 1, "cpu": "500m"})
    limits = load_manifest(text).spec.trainer.resources.limits
    assert limits == {"nvidia.com/gpu": "1", "cpu": "500m"}


def test_a_capital_k_is_no_suffix_of_kubernetes() -> None:
    text = changed(spec__trainer__resources__limits={"cpu": "1K"})
    assert "'1K' has the wrong form" in complaint(text)


def test_an_environment_variable_is_there_once() -> None:
    text = changed(spec__trainer__env=[{"name": "A"}, {"name": "B"}, {"name": "A"}])
    assert "spec.trainer.env: each name may be there once; more than once: A" in complaint(text)


def test_a_manifest_survives_being_written_and_read() -> None:
    first = load_manifest(LEAST)
    text = first.model_dump_json(by_alias=True, exclude_none=True)
    assert load_manifest(text) == first


def test_every_field_of_every_model_has_a_description() -> None:
    bare = [
        f"{path}.{name}"
        for path, model in models(TrainingJob)
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert not bare


def test_every_default_is_named_where_the_field_is_described() -> None:
    silent = [
        f"{path}.{field.alias}"
        for path, model in models(TrainingJob)
        if path.startswith(".spec")
        for field in model.model_fields.values()
        if isinstance(field.default, bool | int | str)
        and f"default: {str(field.default).lower()}" not in str(field.description).lower()
    ]
    assert not silent


def test_every_reason_says_what_it_means() -> None:
    assert all(reason.text.endswith(".") for reason in Reason)
    assert all(str(reason).isalnum() for reason in Reason)
    assert len(ConditionType) == 10


WRONG: Mapping[str, tuple[str, str]] = {
    "unknown field": (
        changed(spec__placement={"localty": "Required"}),
        "spec.placement.localty: unknown field (did you mean 'locality'?)",
    ),
    "field of another place": (
        changed(spec__epochs=3),
        "spec.epochs: unknown field",
    ),
    "python's name of a field": (
        changed(spec__training={"global_batch_size": 5}),
        "spec.training.global_batch_size: unknown field (did you mean 'globalBatchSize'?)",
    ),
    "text for a number": (
        changed(spec__training={"epochs": "3"}),
        "spec.training.epochs: must be a whole number, not '3'",
    ),
    "truth for a number": (
        changed(spec__training={"epochs": True}),
        "spec.training.epochs: must be a whole number, not true",
    ),
    "number for text": (
        changed(spec__trainer__env=[{"name": "A", "value": 3}]),
        "spec.trainer.env[0].value: must be a string, not 3",
    ),
    "command as one text": (
        changed(spec__trainer__command="python train.py"),
        "spec.trainer.command: must be a list, not 'python train.py'",
    ),
    "out of range": (
        changed(spec__training={"globalBatchSize": 0}),
        "spec.training.globalBatchSize: must be at least 1, not 0",
    ),
    "unknown word": (
        changed(spec__placement={"onTopologyChange": "replan"}),
        "must be 'Replan', 'Ignore' or 'Fail', not 'replan' (did you mean 'Replan'?)",
    ),
    "two databases": (
        changed(
            spec__data__cassandra={"endpoints": ["h:9042"], "keyspace": "k", "table": "t"},
        ),
        "spec.data: exactly one of ignite and cassandra must be set; both are",
    ),
    "no database": (
        changed(spec__data={}),
        "spec.data: exactly one of ignite and cassandra must be set; neither is",
    ),
    "two ways to a database": (
        changed(spec__data__ignite__service={"name": "ignite", "port": 10800}),
        "spec.data.ignite: exactly one of service and endpoints must be set; both are",
    ),
    "endpoint without port": (
        changed(spec__data__ignite__endpoints=["localhost"]),
        "spec.data.ignite.endpoints[0]: 'localhost' has the wrong form; expected a form like"
        " '127.0.0.1:10800'",
    ),
    "port out of range": (
        changed(spec__data__ignite__endpoints=["localhost:70000"]),
        "'localhost:70000' has the wrong form",
    ),
    "missing": (
        changed(spec__data__ignite__cache=None),
        "spec.data.ignite.cache: is missing; expected here: Name of the Ignite cache",
    ),
    "another kind": (changed(kind="TrainJob"), "kind: must be 'TrainingJob', not 'TrainJob'"),
    "another version": (
        changed(apiVersion="insitu.dev/v1"),
        "apiVersion: must be 'insitu.dev/v1alpha1', not 'insitu.dev/v1'",
    ),
    "name with an underscore": (changed(metadata__name="my_job"), "metadata.name: 'my_job' has"),
    "name too long for a pod": (
        changed(metadata__name="a" * 53),
        "metadata.name: is too long; at most 52 characters are allowed",
    ),
    "two values of a variable": (
        changed(
            spec__trainer__env=[
                {
                    "name": "A",
                    "value": "1",
                    "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
                }
            ]
        ),
        "spec.trainer.env[0]: at most one of value and valueFrom may be set; both are",
    ),
    "two stores": (
        changed(
            spec__checkpoint={
                "store": {"s3": {"bucket": "abc"}, "persistentVolumeClaim": {"claimName": "c"}}
            }
        ),
        "spec.checkpoint.store: exactly one of s3 and persistentVolumeClaim must be set; both are",
    ),
    "no YAML": ("spec: [1, 2", "manifest:1:12: not valid YAML"),
    "a key twice": ("kind: A\nkind: B\n", "manifest:2:1: not valid YAML: the key 'kind' is there"),
    "a list": ("- a\n- b\n", "manifest holds a list; expected a TrainingJob"),
    "nothing": ("\n", "manifest is empty"),
    "two jobs": (f"{LEAST}\n---\n{LEAST}", "manifest holds 2 TrainingJobs; expected exactly one"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_manifest_is_told_what_would_be_right(text: str, expected: str) -> None:
    assert expected in complaint(text)


def test_all_faults_are_told_at_once() -> None:
    told = complaint(
        changed(
            spec__trainig={"epochs": 3}, spec__suspend="no", spec__data__ignite={"cach": "DIGITS"}
        )
    )
    for path in ("spec.trainig", "spec.suspend", "spec.data.ignite.cach", "spec.data.ignite.cache"):
        assert f"\n  {path}: " in told


def test_dates_and_other_yaml_words_stay_text() -> None:
    loaded = load_manifest(changed(spec__trainer__env=[{"name": "A", "value": "2026-01-01"}]))
    assert loaded.spec.trainer.env[0].value == "2026-01-01"
    plain = LEAST.replace("train.py", "2026-01-01")
    assert load_manifest(plain).spec.trainer.command[1] == "2026-01-01"


def test_a_file_may_hold_other_objects_beside_the_job() -> None:
    assert load_manifest(f"kind: ConfigMap\n---{LEAST}").metadata.name == "digits"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no\.yaml does not exist"):
        load_manifest(tmp_path / "no.yaml")


class TestDataSource:
    def secret(self, folder: Path, **files: str) -> Path:
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)
        return folder

    def open(self, folder: Path, **reach: object) -> object:
        ignite = {"endpoints": ["h:1", "[::1]:2"], "cache": "T", **reach}
        files = {path.name: path for path in folder.iterdir()}
        return data_source(job(data={"ignite": ignite}).spec.data, lambda _: files, _no_service)

    def test_endpoints_and_credentials(self, tmp_path: Path) -> None:
        folder = self.secret(tmp_path, username="ignite", password="pass\n")
        source = self.open(folder, credentials={"secretName": "db"}, columns=["a", "b"])
        assert "pass" not in repr(source)
        assert source == data_source(
            job(
                data={
                    "ignite": {
                        "endpoints": ["h:1", "[::1]:2"],
                        "cache": "T",
                        "columns": ["a", "b"],
                        "credentials": {"secretName": "db"},
                    }
                }
            ).spec.data,
            lambda _: {path.name: path for path in folder.iterdir()},
            _no_service,
        )
        assert "('h', 1), ('::1', 2)" in repr(source)

    def test_a_missing_key_is_named(self, tmp_path: Path) -> None:
        folder = self.secret(tmp_path, username="ignite", pasword="pass")
        with pytest.raises(ConfigurationError, match=r"'db' has no key 'password'.*'pasword'"):
            self.open(folder, credentials={"secretName": "db"})

    def test_a_certificate_needs_its_key(self, tmp_path: Path) -> None:
        folder = self.secret(tmp_path, ca_crt="ca", tls_crt="own")
        with pytest.raises(ConfigurationError, match=r"has 'tls.crt' but no 'tls.key'"):
            self.open(folder, tls={"secretName": "db"})


def _no_service(name: str, port: int) -> tuple[tuple[str, int], ...]:
    raise AssertionError((name, port))
