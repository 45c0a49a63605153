"""Limits in annotations."""

from __future__ import annotations

import datetime
import decimal
import re
from typing import Annotated, Any, Literal

import annotated_types
import msgspec
import pydantic
import pytest

from .helpers import bound, property_of, refusal, tool_of
from .kinds import (
    INTEGER,
    STRING,
)

LIMITS: list[tuple[Any, dict[str, Any], str, str]] = [
    (Annotated[int, annotated_types.Gt(1)], {**INTEGER, "exclusiveMinimum": 1}, "1", "a value greater than 1"),
    (Annotated[int, annotated_types.Ge(1)], {**INTEGER, "minimum": 1}, "0", "a value at least 1"),
    (Annotated[float, annotated_types.Lt(1)], {"type": "number", "exclusiveMaximum": 1}, "1", "a value less than 1"),
    (
        Annotated[int, annotated_types.Interval(ge=1, le=3)],
        {**INTEGER, "minimum": 1, "maximum": 3},
        "4",
        "a value at most 3",
    ),
    (Annotated[int, annotated_types.MultipleOf(3)], {**INTEGER, "multipleOf": 3}, "4", "a multiple of 3"),
    (
        Annotated[float, msgspec.Meta(multiple_of=0.5)],
        {"type": "number", "multipleOf": 0.5},
        "0.6",
        "a multiple of 0.5",
    ),
    (
        Annotated[float, msgspec.Meta(multiple_of=1e-300)],
        {"type": "number", "multipleOf": 1e-300},
        "1e300",
        "a multiple of 1e-300",
    ),
    (Annotated[str, annotated_types.MinLen(2)], {**STRING, "minLength": 2}, '"a"', "at least 2 characters, got 1"),
    (Annotated[str, annotated_types.Len(0, 2)], {**STRING, "maxLength": 2}, '"abc"', "at most 2 characters, got 3"),
    (Annotated[str, msgspec.Meta(pattern="^a+$")], {**STRING, "pattern": "^a+$"}, '"b"', "a string matching ^a+$"),
    (
        Annotated[str, pydantic.Field(pattern=re.compile("^a"), max_length=5, description="d")],
        {**STRING, "pattern": "^a", "maxLength": 5, "description": "d"},
        '"b"',
        "a string matching ^a",
    ),
    (
        Annotated[list[int], annotated_types.MinLen(1)],
        {"type": "array", "items": INTEGER, "minItems": 1},
        "[]",
        "at least 1 items, got 0",
    ),
    (
        Annotated[dict[str, int], annotated_types.MaxLen(0)],
        {"type": "object", "additionalProperties": INTEGER, "maxProperties": 0},
        '{"a": 1}',
        "at most 0 items, got 1",
    ),
    (
        Annotated[int | None, annotated_types.Ge(1)],
        {"anyOf": [{**INTEGER, "minimum": 1}, {"type": "null"}]},
        "0",
        "a value at least 1",
    ),
    (
        list[Annotated[int, annotated_types.Ge(1)]],
        {"type": "array", "items": {**INTEGER, "minimum": 1}},
        "[0]",
        "a value at least 1",
    ),
    (
        Annotated[Annotated[int, annotated_types.Ge(1), "d"], annotated_types.Le(2)],
        {**INTEGER, "minimum": 1, "maximum": 2, "description": "d"},
        "3",
        "a value at most 2",
    ),
    (
        Annotated[datetime.date, annotated_types.Ge(datetime.date(2026, 1, 1))],
        {"type": "string", "format": "date"},
        '"2025-01-01"',
        "a value at least 2026-01-01",
    ),
    (
        Annotated[decimal.Decimal, annotated_types.Gt(0)],
        {**STRING, "description": "A decimal number."},
        '"0"',
        "a value greater than 0",
    ),
    (
        Annotated[Literal[1, 2], annotated_types.Gt(1)],
        {**INTEGER, "enum": [1, 2], "exclusiveMinimum": 1},
        "1",
        "a value greater than 1",
    ),
    (Annotated[Any, annotated_types.MinLen(1)], {}, "[]", "at least 1 items, got 0"),
    (
        Annotated[int, annotated_types.Interval(ge=1, le=float("inf"))],
        {**INTEGER, "minimum": 1},
        "0",
        "a value at least 1",
    ),
    (Annotated[int, annotated_types.Ge(decimal.Decimal("1.5"))], INTEGER, "1", "a value at least 1.5"),
    (
        Annotated[datetime.datetime, annotated_types.Ge(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))],
        {"type": "string", "format": "date-time"},
        '"2027-01-01T00:00:00"',
        "a value at least 2026-01-01 00:00:00+00:00",
    ),
]


@pytest.mark.parametrize(("type_", "schema", "text", "reason"), LIMITS)
def test_limits(type_: Any, schema: dict[str, Any], text: str, reason: str) -> None:
    """Limits in an annotation are in the schema, and checked."""
    assert schema == property_of(type_)
    assert f": expected {reason}" in refusal(tool_of(type_), f'{{"x": {text}}}')


def test_limits_say_nothing_of_other_values() -> None:
    """A limit binds values of its own kind, as in JSON Schema; what fits passes."""
    made = tool_of(
        Annotated[int | str | None, annotated_types.Ge(1), annotated_types.MaxLen(3), msgspec.Meta(multiple_of=2)]
    )

    assert ["abc", 4, None] == [bound(made, f'{{"x": {text}}}') for text in ('"abc"', "4", "null")]
    floats = tool_of(Annotated[float, msgspec.Meta(multiple_of=0.5, ge=0)])
    assert 1.5 == bound(floats, '{"x": 1.5}')
    assert "b" == bound(tool_of(Annotated[str, msgspec.Meta(pattern="b", min_length=1, max_length=1)]), '{"x": "b"}')


def test_predicates() -> None:
    """A function in an annotation decides, with the limits before it."""

    def is_even(value: int) -> bool:
        return value % 2 == 0

    even = tool_of(Annotated[int, annotated_types.Predicate(is_even), annotated_types.Gt(0)])

    assert 2 == bound(even, '{"x": 2}')
    assert "x: not accepted by is_even" == refusal(even, '{"x": 3}')
    assert "x: expected a value greater than 0" == refusal(even, '{"x": -2}')
    assert "x: is missing; expected an integer, greater than 0, accepted by is_even" == refusal(even, "{}")
