"""Hypothesis strategies: JSON in general, and JSON as a model has it, made from the model's annotations."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from hypothesis import settings
from hypothesis import strategies as st

from asyncassist.models import (
    Assistant,
    AssistantDeleted,
    ErrorResponse,
    Message,
    MessageDelta,
    Model,
    Page,
    Run,
    RunStep,
    RunStepDelta,
    Thread,
    ToolOutput,
    Unknown,
)

# The same examples on every machine and in every run.
steady = settings(derandomize=True, deadline=None, max_examples=25, database=None)

TYPES: list[Any] = [
    Assistant,
    AssistantDeleted,
    ErrorResponse,
    Message,
    MessageDelta,
    Run,
    RunStep,
    RunStepDelta,
    Thread,
    ToolOutput,
    Page[Message],
]

words = st.text(max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(words, json_values, max_size=3)


def same_json(left: object, right: object) -> bool:
    """Compare JSON values exactly: True is not 1, though 1.0 is 1."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def json_of(type_: Any) -> st.SearchStrategy[Any]:
    """Give JSON values that fit a type."""
    origin = get_origin(type_)
    if origin is Annotated:
        return json_of(type_.__origin__)
    if origin is Literal:
        return st.sampled_from(get_args(type_))
    if origin in (Union, UnionType):
        members = [member for member in get_args(type_) if member is not NoneType]
        return st.one_of([json_of(member) for member in members])
    if origin is tuple:
        return st.lists(json_of(get_args(type_)[0]), max_size=2)
    if type_ == Mapping[str, str]:
        return st.dictionaries(words, words, max_size=2)
    if type_ == Mapping[str, object]:
        return json_objects
    if isinstance(type_, type) and issubclass(type_, Unknown):
        return st.builds(lambda raw: raw | {"type": "of another kind"}, json_objects) | json_objects
    if issubclass(origin or type_, Model):
        return model_json(type_)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: words,
        int: st.integers(),
        float: st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
    }
    return plain[type_]


def model_json(type_: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Give objects that fit a model: any optional field may be absent or null, and there may be others."""
    cls = get_origin(type_) or type_
    hints = get_type_hints(cls, include_extras=True)
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in attrs.fields(cls):
        if not field.name.startswith("_"):
            hint = hints[field.name]
            strategy = json_of(hint[get_args(type_)] if getattr(hint, "__parameters__", ()) else hint)
            if field.default is attrs.NOTHING:
                required[field.name] = strategy
            elif field.name == "type" and get_origin(hint) is Literal:
                # A union's members are told apart by it.
                required[field.name] = strategy
            else:
                optional[field.name] = st.none() | strategy
    return st.fixed_dictionaries(required, optional=optional | {"a field of tomorrow": json_values})


def places(value: Any) -> list[tuple[Any, Any]]:
    """Give every place inside a JSON value where something else could stand, as container and key."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        found.extend(places(inner))
    return found
