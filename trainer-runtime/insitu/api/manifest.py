"""Reads a TrainingJob manifest, and says everything that is wrong with it at once."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path

import yaml
from pydantic import ValidationError

from insitu.api.complaints import complaints
from insitu.api.job import TrainingJob
from insitu.errors import ConfigurationError


def load_manifest(source: str | Path) -> TrainingJob:
    """A manifest's one TrainingJob; `source` is a path, or the text itself.

    Raises:
        ConfigurationError: with a line `path: what is wrong; what would be right` for each fault.
    """
    if isinstance(source, Path):
        where, text = str(source), _read(source)
    else:
        where, text = "manifest", source
    try:
        return TrainingJob.model_validate_json(
            json.dumps(_document(where, text)), strict=True, by_alias=True, by_name=False
        )
    except ValidationError as problem:
        lines = complaints(TrainingJob, problem)
        raise ConfigurationError(
            "\n".join([f"{where} is not a valid TrainingJob:", *lines])
        ) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} does not exist; expected the file of a TrainingJob"
        ) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{path} can't be read as text: {problem}") from None


def _document(where: str, text: str) -> dict[str, object]:
    try:
        documents = [d for d in yaml.load_all(text, Loader=_Loader) if d is not None]
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        detail = ", ".join(part for part in (problem.context, problem.problem) if part)
        raise ConfigurationError(f"{where}{line}: not valid YAML: {detail}") from None
    except yaml.YAMLError as problem:
        raise ConfigurationError(f"{where}: not valid YAML: {problem}") from None
    jobs = [d for d in documents if isinstance(d, dict) and d.get("kind") == "TrainingJob"]
    chosen = jobs if len(documents) > 1 else documents
    if len(chosen) != 1:
        raise ConfigurationError(
            f"{where} holds {len(chosen)} TrainingJobs; expected exactly one"
            if documents
            else f"{where} is empty; expected a TrainingJob"
        )
    if not isinstance(chosen[0], dict):
        raise ConfigurationError(
            f"{where} holds {_a_kind(chosen[0])}; expected a TrainingJob with apiVersion, kind,"
            " metadata and spec"
        )
    return chosen[0]


def _a_kind(value: object) -> str:
    return "a list" if isinstance(value, list) else "a single value"


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes takes it: JSON's types only, and no key twice."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        """A dict; a repeated or non-string key is refused."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {key!r} is not a string; put it in quotes",
                    key_node.start_mark,
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# Timestamps stay strings, as in JSON.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
