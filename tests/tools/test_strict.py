"""Strict mode: its schemas, and null for what is absent."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import annotated_types
import attrs
import msgspec
import pytest

from asyncassist import UsageError, tool

from .helpers import bound, property_of, refusal, tool_of
from .kinds import (
    INTEGER,
    STRING,
    Color,
    Node,
    Pair,
    Point,
    name_of,
    record,
)

STRICT: list[tuple[Any, Any, dict[str, Any]]] = [
    (int, ..., INTEGER),
    (int, 5, {"anyOf": [INTEGER, {"type": "null"}], "description": "Null for the default: 5."}),
    (
        Annotated[int, "how many"],
        5,
        {"anyOf": [INTEGER, {"type": "null"}], "description": "how many\nNull for the default: 5."},
    ),
    (int | str, "a", {"anyOf": [INTEGER, STRING, {"type": "null"}], "description": 'Null for the default: "a".'}),
    (int, object(), {"anyOf": [INTEGER, {"type": "null"}], "description": "Null for the default."}),
    (int | None, None, {"anyOf": [INTEGER, {"type": "null"}]}),
    (
        Annotated[int, annotated_types.Ge(1), annotated_types.Lt(5)],
        ...,
        {**INTEGER, "description": "Must be at least 1, less than 5."},
    ),
    (
        Annotated[str, msgspec.Meta(pattern="a", max_length=3), "it"],
        ...,
        {**STRING, "description": "it\nMust be at most 3 long, matching a."},
    ),
    (datetime.date, ..., {**STRING, "description": "A date (YYYY-MM-DD)."}),
    (Annotated[datetime.date, "when"], ..., {**STRING, "description": "when\nA date (YYYY-MM-DD)."}),
    (set[int], ..., {"type": "array", "items": INTEGER}),
    (tuple[int, int], ..., {"type": "array", "items": INTEGER, "description": "Exactly 2 items."}),
    (tuple[int, str], ..., {"type": "array", "items": {"anyOf": [INTEGER, STRING]}, "description": "Exactly 2 items."}),
    (
        Pair,
        ...,
        record(
            {
                "left": INTEGER,
                "right": {"anyOf": [STRING, {"type": "null"}], "description": 'Null for the default: "r".'},
            },
            "left",
            "right",
        ),
    ),
]


@pytest.mark.parametrize(("type_", "default", "schema"), STRICT, ids=name_of)
def test_strict_schemas(type_: Any, default: Any, schema: dict[str, Any]) -> None:
    """Strict mode gets what it knows; limits, forms and defaults are said in words."""
    assert schema == property_of(type_, default, strict=True)


def test_strict_definitions() -> None:
    """What refers to a definition stands alone, as strict mode wants it."""
    schema = tool_of(tuple[Annotated[Node, "first"], Annotated[Node, "then"]], strict=True).parameters

    assert {
        "anyOf": [
            {"anyOf": [{"$ref": "#/$defs/Node"}], "description": "first"},
            {"anyOf": [{"$ref": "#/$defs/Node"}], "description": "then"},
        ]
    } == schema["properties"]["x"]["items"]


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (Any, "x: strict mode cannot describe a value of any type"),
        (list, "x: strict mode cannot describe a value of any type"),
        (dict[str, int], "x: strict mode cannot describe a dict with any keys; use a class"),
        (attrs.make_class("Wide", {"a": attrs.field(type=Any)}), "x.a: strict mode cannot describe a value of"),
        (tuple[()], "x: strict mode cannot describe an empty tuple"),
    ],
)  # fmt: skip
def test_what_strict_mode_cannot_describe(type_: Any, reason: str) -> None:
    """It is refused when the tool is made; without strict mode it is no trouble."""
    with pytest.raises(UsageError, match=f"tool echo: parameter {reason}"):
        tool_of(type_, strict=True)
    tool_of(type_, strict=False)


def test_null_for_the_default_of_a_member() -> None:
    """A class of a union is known by its names though strict mode has null for one of its tags."""

    @attrs.define
    class Paint:
        name: str
        color: Color = Color.RED

    @tool(strict=True)
    def mix(x: Paint | Pair) -> object:
        return x

    assert Paint("sky") == bound(mix, '{"x": {"name": "sky", "color": null}}')
    assert refusal(mix, '{"x": {"name": "sky", "color": "green"}}').startswith(
        'x: color: expected one of "red", "blue"; or'
    )


def test_null_for_a_default() -> None:
    """In strict mode null stands for a default, in classes too; without it, it is a value like any other."""
    strict, loose = tool_of(Point, Point(9), strict=True), tool_of(Point, Point(9))
    text = '{"x": {"x": 1, "y": null, "hidden": null, "tags": null}}'

    assert Point(1) == bound(strict, text)
    assert Point(9) == bound(strict, '{"x": null}') == bound(loose, "{}")
    assert "x: expected an object, got null" == refusal(loose, '{"x": null}')
    assert refusal(loose, text).startswith("x.y: expected a number")
    assert None is bound(tool_of(int | None, 5, strict=True), '{"x": null}')
    assert "x.x: expected an integer, got null" == refusal(strict, '{"x": {"x": null}}')
    assert "x: is missing; expected any value" == refusal(tool_of(Any), "{}")
