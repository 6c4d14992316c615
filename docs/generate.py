"""Writes the reference pages that follow from code: `python docs/generate.py` (make generate).

tests/unit/test_reference_pages.py fails when a page and the code have drifted apart.
"""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from insitu.api import Reason, TrainingJob
from insitu.contract import environment as contract
from insitu.contract.names import ALL, Names
from insitu.databases.cassandra import packing
from insitu.databases.cassandra.cluster import locality
from insitu.databases.cassandra.columns import types as types_read
from insitu.databases.cassandra.writing import storage as types_loaded
from insitu.databases.ignite.columns import arrow_types, schema
from insitu.databases.ignite.writing import storage
from insitu.errors import EXIT_CODES, ConfigurationError, ExitCode, InsituError
from insitu_operator.shell import settings

FOLDER = Path(__file__).parent / "reference"
_NOTE = "<!-- Written by docs/generate.py; edit the code, then run `make generate`. -->\n"


_CHANGES = """
## Tables that change

What an epoch takes of a table that is written while it is read.

A row that is there all through an epoch enters it exactly once, whatever comes and goes beside it,
and however often the job is killed and resumed. A row that is inserted or deleted meanwhile enters
it at most once. `data.onChange: Fail` ends the job at the first change that is noticed in an epoch;
who resumes it then goes on with the table as it is, and is not told of that epoch again. `Continue`
goes on and counts the epoch in `status.trainerStatus.inexactEpochs`. An epoch without any row after
one that had some always ends the job.
"""

_IGNITE_CHANGES = """
Rows are counted when a run starts, at each checkpoint and at the end of each epoch. That does not
tell rows that are updated in place, whose old or new values are read, nor as many rows inserted as
deleted, unless they are found missing where a job resumes. Fewer rows than at the last checkpoint
end a resume until they are back: nobody can tell whether they were deleted or lost with a node.

A resume needs keys whose order Ignite's own hash tells: numbers, texts, booleans, UUIDs, times,
decimals and objects. A job with a checkpoint store over keys of another type, such as byte[], is
refused at its first checkpoint.
"""

_CASSANDRA_CHANGES = """
Cassandra can't count rows cheaply, so an epoch's rows are compared with those of the one before.
What is inserted or deleted during the first epoch is not noticed, unless it is found missing where
a job resumes, and neither are updates, nor as many rows inserted as deleted.
"""


def pages() -> Mapping[str, str]:
    """File name to text of every generated page."""
    return {
        "cassandra.md": cassandra(),
        "environment.md": environment(),
        "ignite.md": ignite(),
        "reasons.md": reasons(),
        "trainingjob.md": trainingjob(),
    }


def environment() -> str:
    """Every variable of the operator, and every one that a trainer is told."""
    told = {name for name in vars(contract).values() if str(name).startswith("INSITU_")}
    assert told == _TOLD.keys(), "describe each variable of insitu.contract here"
    trainer = "".join(f"| `{name}` | {text} |\n" for name, text in _TOLD.items())
    tables = "".join(_variables(names) for names in ALL.values())
    return (
        f"# Environment variables\n\n{_NOTE}\n## Operator\n\n"
        "The Helm chart sets what its values are about. An empty variable counts as unset.\n\n"
        f"| variable | default | meaning |\n|---|---|---|\n{''.join(_settings())}\n"
        "## Trainer\n\n"
        "The operator and `insitu run` set these for each rank, beside `RANK`, `WORLD_SIZE`,\n"
        "`LOCAL_RANK`, `MASTER_ADDR` and `MASTER_PORT`, and for the framework TensorFlow\n"
        "`TF_CONFIG`.\n\n"
        f"| variable | meaning |\n|---|---|\n{trainer}\n"
        "A script that is run alone needs only the database's own, of which those of the table\n"
        "have to be set:\n\n"
        f"| database | table | others |\n|---|---|---|\n{tables}"
    )


_TOLD: Mapping[str, str] = {
    "INSITU_ASSIGNMENT": "Path of the JSON document with all that the rank is told but secrets.",
    "INSITU_JOB": "Name of the TrainingJob.",
    "INSITU_GENERATION": "Number of the plan.",
    "INSITU_PROGRESS": "File in which the session tells its progress to `insitu-run`.",
    "INSITU_HEARTBEAT": "URL that `insitu-run` posts progress to.",
    "INSITU_HEARTBEAT_TOKEN": "File with the token that it shows there.",
    "INSITU_SECRET_VARIABLES": "Names of variables that came from Secrets, whose"
    " values `insitu-run` leaves out of the last lines that it tells.",
    "INSITU_AUDIT_DIR": "For tests: a folder where each rank writes down which rows it used.",
    "INSITU_AUDIT_COLUMN": "For tests: the column that names a row there.",
}


def _settings() -> Iterator[str]:
    described = dict(_arguments_of(settings.Settings))
    for name, field in settings.Settings.model_fields.items():
        default = field.default
        if isinstance(default, settings.Address):
            default = f"{default.host}:{default.port}"
        shown = f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        # These two are what every pod can be told of itself.
        variable = name.upper() if name.startswith("pod_") else settings.PREFIX + name.upper()
        yield f"| `{variable}` | {shown if default or default == 0 else ''} | {described[name]} |\n"


def _arguments_of(documented: type) -> Iterator[tuple[str, str]]:
    """Names and texts of the section `Args:` of a docstring."""
    _, _, section = (documented.__doc__ or "").partition("Args:\n")
    for found in re.finditer(r"^ {8}(\w+): (.*(?:\n {9,}.*)*)", section, re.MULTILINE):
        yield found[1], " ".join(found[2].split())


def _variables(names: Names) -> str:
    table = " ".join(f"`{names(part)}`" for part in names.table)
    others = ("HOST", "PORT", "LOCAL", names.shards, *names.options, "PAGE_SIZE", "USERNAME",
              "PASSWORD", "CAFILE", "CERTFILE", "KEYFILE", "CERT_PASSWORD")  # fmt: skip
    listed = " ".join(f"`{names(other)}`" for other in others)
    return f"| {names.kind} | {table} | {listed} |\n"


def ignite() -> str:
    """What Ignite's rows become, and how rows are stored in Ignite."""
    parts = {"Columns": schema, "Types when reading": arrow_types, "Types when loading": storage}
    page = f"# Apache Ignite\n\n{_NOTE}" + "".join(
        f"\n## {title}\n\n{(module.__doc__ or '').strip()}\n" for title, module in parts.items()
    )
    return page + _CHANGES + _IGNITE_CHANGES


def cassandra() -> str:
    """What Cassandra's rows become, how rows are stored in it, and who reads them."""
    parts = {
        "Types when reading": types_read,
        "Types when loading": types_loaded,
        "Packed tables": packing,
        "Locality": locality,
    }
    page = f"# Apache Cassandra\n\n{_NOTE}" + "".join(
        f"\n## {title}\n\n{(module.__doc__ or '').strip()}\n" for title, module in parts.items()
    )
    return page + _CHANGES + _CASSANDRA_CHANGES


def reasons() -> str:
    """Every reason a condition can give, with what to do about it."""
    rows = "".join(f"| `{reason}` | {reason.text} |\n" for reason in Reason)
    codes = "".join(f"| {code.value} | {_meaning(code)} |\n" for code in ExitCode)
    return (
        f"# Reasons and exit codes\n\n{_NOTE}\n"
        "Each condition of a job's status carries one of these reasons; its message names the "
        f"facts.\n\n| reason | meaning, and what to do |\n|---|---|\n{rows}\n"
        "## Exit codes of a trainer\n\n"
        "A script ends with one of these when Insitu ended it; any other code is its own.\n\n"
        f"| code | meaning |\n|---|---|\n{codes}"
    )


def trainingjob() -> str:
    """Every field of a TrainingJob."""
    parts = [f"# TrainingJob\n\n{_NOTE}\nGroup `insitu.dev`, version `v1alpha1`.\n"]
    for name in ("spec", "status"):
        model = _model(TrainingJob.model_fields[name])
        assert model is not None
        rows = "".join(f"| `{path}` | {kind} | {text} |\n" for path, kind, text in _fields(model))
        parts.append(f"\n## {name}\n\n| field | type | meaning |\n|---|---|---|\n{rows}")
    return "".join(parts)


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        text = (field.description or "").replace("|", "\\|")
        inner = _model(field)
        many = _is_list(field.annotation)
        yield path, _kind(field.annotation), text
        if inner is not None:
            yield from _fields(inner, f"{path}[]." if many else f"{path}.")


def _kind(annotation: object) -> str:
    if _is_list(annotation):
        return f"list of {_kind(_arguments(annotation)[0])}"
    plain = [one for one in _plain(annotation) if isinstance(one, type)]
    if len(plain) != 1:
        return "map" if any(typing.get_origin(o) is dict for o in _plain(annotation)) else "value"
    (kind,) = plain
    if issubclass(kind, BaseModel):
        return "object"
    if issubclass(kind, enum.Enum) and not issubclass(kind, Reason):
        return " \\| ".join(f"`{member.value}`" for member in kind)
    names = {str: "string", int: "integer", bool: "boolean", float: "number"}
    return next((text for base, text in names.items() if kind is base), "string")


def _model(field: FieldInfo) -> type[BaseModel] | None:
    annotation: object = field.annotation
    if _is_list(annotation):
        annotation = _arguments(annotation)[0]
    for one in _plain(annotation):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _plain(annotation: object) -> list[object]:
    """Without `Annotated` and `| None`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [
            plain
            for argument in typing.get_args(annotation)
            if argument is not type(None)
            for plain in _plain(argument)
        ]
    return [annotation]


def _is_list(annotation: object) -> bool:
    return any(typing.get_origin(one) in (tuple, list) for one in _plain(annotation))


def _arguments(annotation: object) -> tuple[object, ...]:
    found = next(o for o in _plain(annotation) if typing.get_origin(o) in (tuple, list))
    return typing.get_args(found)


def _meaning(code: ExitCode) -> str:
    kinds: list[type[InsituError]] = [kind for kind, its in EXIT_CODES if its is code]
    if code is ExitCode.CONFIGURATION:
        kinds.append(ConfigurationError)
    texts = (" ".join((kind.__doc__ or "").split("\n\n")[0].split()) for kind in kinds)
    return " ".join(texts) or "Done."


def main() -> None:
    """Writes all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
