"""Turns what pydantic found into sentences for the author of a manifest."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from insitu.errors import nearest

_WANTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_AN_EXAMPLE = {
    "spec.data.ignite.endpoints": "'127.0.0.1:10800'",
    "metadata.name": "'digits-2'; lower case letters, digits and '-', beginning with a letter",
}


def complaints(root: type[BaseModel], problem: ValidationError) -> list[str]:
    """A line `path: what is wrong; what would be right` for each fault."""
    errors = problem.errors(include_url=False)
    parents = {error["loc"][:-1] for error in errors}
    return [
        f"  {dotted(error['loc'])}: {_sentence(root, error['loc'], error)}"
        for error in errors
        # A list that lost its only entry to another fault is not short by itself.
        if not (error["type"] == "too_short" and error["loc"] in parents)
    ]


def dotted(location: Iterable[int | str]) -> str:
    """`spec.trainer.env[2].name`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "the document"


def _sentence(root: type[BaseModel], location: tuple[int | str, ...], error: ErrorDetails) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    match kind:
        case "extra_forbidden":
            parent = model_at(root, location[:-1])
            known = wire_names(parent) if parent else ()
            return f"unknown field{nearest(str(location[-1]), known)}"
        case "missing":
            return f"is missing; expected here: {_purpose(root, location)}"
        case "enum" | "literal_error":
            allowed = str(context["expected"])
            names = [name.strip(" '") for name in allowed.replace(" or ", ", ").split(",")]
            hint = nearest(str(value), names)
            return f"must be {allowed}, not {_shown(value)}{hint if 'did you mean' in hint else ''}"
        case "value_error":
            return str(context["error"])
        case "string_pattern_mismatch":
            path = dotted(location)
            base = path.split("[")[0]
            example = _AN_EXAMPLE.get(base)
            right = (
                f"expected a form like {example}" if example else f"must match {context['pattern']}"
            )
            return f"{_shown(value)} has the wrong form; {right}"
        case "string_too_long" | "too_long":
            return f"is too long; at most {context['max_length']} {_units(kind)} are allowed"
        case "string_too_short" | "too_short":
            return f"is too short; at least {context['min_length']} {_units(kind)} needed"
        case "greater_than_equal":
            return f"must be at least {context['ge']}, not {_shown(value)}"
        case "less_than_equal":
            return f"must be at most {context['le']}, not {_shown(value)}"
        case _ if kind in _WANTED:
            return f"must be {_WANTED[kind]}, not {_shown(value)}"
        case _:
            return f"{error['msg']}; found {_shown(value)}"


def _units(kind: str) -> str:
    return "characters" if kind.startswith("string") else "entries"


def _shown(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{value[:60]}'"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return str(value)


def _purpose(root: type[BaseModel], location: tuple[int | str, ...]) -> str:
    parent = model_at(root, location[:-1])
    for name, field in parent.model_fields.items() if parent else ():
        if location[-1] in (field.alias, name) and field.description:
            return field.description.split(". ")[0].rstrip(".")
    return "a value"


def wire_names(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a model as a manifest writes them."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def model_at(root: type[BaseModel], location: Iterable[int | str]) -> type[BaseModel] | None:
    """The model that describes what lies at `location`, if a model does."""
    here: object = root
    for part in location:
        model = _model_in(here)
        if model is None:
            return None
        if isinstance(part, int) or part not in wire_names(model):
            continue
        here = next(f.annotation for n, f in model.model_fields.items() if part in (f.alias, n))
    return _model_in(here)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, typing.Annotated):
        found = (_model_in(part) for part in typing.get_args(annotation))
        return next((model for model in found if model is not None), None)
    return None
