"""Types: the JSON Schema of each, and what cannot be one."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import math
import pathlib
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NewType

import annotated_types
import attrs
import jsonschema
import msgspec
import pydantic
import pytest
import typing_extensions

from asyncassist import UsageError
from asyncassist.models import Run

from .helpers import bound, property_of, tool_of
from .kinds import (
    INTEGER,
    MORE,
    NODE,
    POINT,
    STRING,
    Box,
    Color,
    Half,
    IntBox,
    Line,
    More,
    Node,
    Odd,
    Options,
    Other,
    OwnDataInit,
    OwnInit,
    Pair,
    Point,
    Size,
    T,
    UserId,
    name_of,
    record,
)

CASES: list[tuple[Any, dict[str, Any], str, object]] = [
    (str, STRING, '"\\ud800 é"', "\ud800 é"),
    (int, INTEGER, "3.0", 3),
    (int, INTEGER, "1" * 400, int("1" * 400)),
    (float, {"type": "number"}, "3", 3.0),
    (bool, {"type": "boolean"}, "false", False),
    (None, {"type": "null"}, "null", None),
    (Any, {}, '{"a": [1, null]}', {"a": [1, None]}),
    (object, {}, "null", None),
    (UserId, INTEGER, "7", 7),
    (int | None, {"anyOf": [INTEGER, {"type": "null"}]}, "null", None),
    (typing.Optional[str], {"anyOf": [STRING, {"type": "null"}]}, '"a"', "a"),  # noqa: UP045
    (
        Literal["a", 1, True, None],
        {"type": ["string", "integer", "boolean", "null"], "enum": ["a", 1, True, None]},
        "1",
        1,
    ),
    (
        Literal["a", 1, True, None],
        {"type": ["string", "integer", "boolean", "null"], "enum": ["a", 1, True, None]},
        "true",
        True,
    ),
    (Literal[Color.RED], {"type": "string", "enum": ["red"]}, '"red"', Color.RED),
    (Color, {"type": "string", "enum": ["red", "blue"]}, '"blue"', Color.BLUE),
    (Half, {"type": "number", "enum": [0.5, 2.0]}, "2", Half.TWO),
    (Annotated[int, object()], INTEGER, "2", 2),
    (
        Annotated[int | str, "it"] | None,
        {"anyOf": [{"anyOf": [INTEGER, STRING], "description": "it"}, {"type": "null"}]},
        '"a"',
        "a",
    ),
    (Size, {"type": "integer", "enum": [1, 2]}, "2.0", Size.LARGE),
    (list[int], {"type": "array", "items": INTEGER}, "[1, 2]", [1, 2]),
    (list, {"type": "array", "items": {}}, '[1, "a"]', [1, "a"]),
    (Sequence[int], {"type": "array", "items": INTEGER}, "[1]", [1]),
    (tuple[()], {"type": "array", "items": False, "maxItems": 0}, "[]", ()),
    (
        dict[str, int] | list[int] | None,
        {
            "anyOf": [
                {"type": "object", "additionalProperties": INTEGER},
                {"type": "array", "items": INTEGER},
                {"type": "null"},
            ]
        },
        '{"a": 1}',
        {"a": 1},
    ),
    (tuple[int, ...], {"type": "array", "items": INTEGER}, "[1]", (1,)),
    (tuple, {"type": "array", "items": {}}, "[1]", (1,)),
    (
        tuple[int, str],
        {"type": "array", "prefixItems": [INTEGER, STRING], "items": False, "minItems": 2, "maxItems": 2},
        '[1, "a"]',
        (1, "a"),
    ),
    (set[str], {"type": "array", "items": STRING, "uniqueItems": True}, '["a", "b"]', {"a", "b"}),
    (frozenset[str], {"type": "array", "items": STRING, "uniqueItems": True}, "[]", frozenset()),
    (set, {"type": "array", "items": {}, "uniqueItems": True}, "[1]", {1}),
    (dict[str, int], {"type": "object", "additionalProperties": INTEGER}, '{"a": 1}', {"a": 1}),
    (dict, {"type": "object", "additionalProperties": {}}, '{"a": []}', {"a": []}),
    (
        Mapping[Color, int],
        {
            "type": "object",
            "additionalProperties": INTEGER,
            "propertyNames": {"type": "string", "enum": ["red", "blue"]},
        },
        '{"red": 1}',
        {Color.RED: 1},
    ),
    (
        dict[Annotated[str, msgspec.Meta(max_length=2)], int],
        {"type": "object", "additionalProperties": INTEGER, "propertyNames": {"type": "string", "maxLength": 2}},
        '{"ab": 1}',
        {"ab": 1},
    ),
    (datetime.date, {"type": "string", "format": "date"}, '"2026-01-02"', datetime.date(2026, 1, 2)),
    (
        datetime.datetime,
        {"type": "string", "format": "date-time"},
        '"2026-01-02T03:04:05Z"',
        datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    ),
    (datetime.time, {"type": "string", "format": "time"}, '"03:04:05"', datetime.time(3, 4, 5)),
    (datetime.timedelta, {"type": "string", "format": "duration"}, '"PT90S"', datetime.timedelta(seconds=90)),
    (uuid.UUID, {"type": "string", "format": "uuid"}, f'"{uuid.UUID(int=5)}"', uuid.UUID(int=5)),
    (
        decimal.Decimal,
        {"type": "string", "description": "A decimal number."},
        '"1.10"',
        decimal.Decimal("1.10"),
    ),
    (pathlib.Path, {"type": "string", "description": "A path."}, '"a/b"', pathlib.Path("a/b")),
    (Point, POINT, '{"x": 1, "hidden": false, "tags": ["a"]}', Point(1, hidden=False, tags=["a"])),
    (
        Line,
        record(
            {
                "start": {"$ref": "#/$defs/Point"},
                "end": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}], "default": None},
                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "marks": {"type": "array", "items": INTEGER},
                "width": {"type": "integer", "default": 1},
            },
            "start",
        ),
        '{"start": {"x": 1}, "color": "blue", "width": 3}',
        Line(Point(1), color=Color.BLUE, width=3),
    ),
    (More, MORE, '{"name": "n", "order": "asc", "last": 1}', {"name": "n", "order": "asc", "last": 1}),
    (Other, record({"name": STRING}), "{}", {}),
    (Pair, record({"left": INTEGER, "right": {**STRING, "default": "r"}}, "left"), '{"left": 1}', Pair(1)),
    (
        Box[str],
        record({"value": STRING, "others": {"type": "array", "items": STRING}}, "value"),
        '{"value": "a", "others": ["b"]}',
        Box("a", ["b"]),
    ),
    (
        IntBox,
        record({"value": INTEGER, "others": {"type": "array", "items": INTEGER}}, "value"),
        '{"value": 1}',
        IntBox(1),
    ),
    (
        Node,
        {"$ref": "#/$defs/Node"},
        '{"name": "a", "children": [{"name": "b", "children": []}]}',
        Node("a", [Node("b")]),
    ),
    (
        Pair | Point | str,
        {"anyOf": [record({"left": INTEGER, "right": {**STRING, "default": "r"}}, "left"), POINT, STRING]},
        '{"x": 1}',
        Point(1),
    ),
]


@pytest.mark.parametrize(("type_", "schema", "text", "value"), CASES, ids=name_of)
def test_types(type_: Any, schema: dict[str, Any], text: str, value: object) -> None:
    """Each type has its schema, and takes what fits it."""
    made = tool_of(type_)
    jsonschema.Draft202012Validator.check_schema(made.parameters)
    jsonschema.Draft202012Validator(made.parameters).validate(json.loads(f'{{"x": {text}}}'))
    assert schema == property_of(type_)
    result = bound(tool_of(type_), f'{{"x": {text}}}')
    assert value == result
    assert type(value) is type(result)


def test_classes_that_are_used_twice_are_defined_once() -> None:
    """And so are those that refer to themselves; what refers to them may say more."""
    schema = tool_of(tuple[Point, Annotated[Point, "the second"], Node]).parameters

    assert {"Point": POINT, "Node": NODE} == schema["$defs"]
    assert [
        {"$ref": "#/$defs/Point"},
        {"$ref": "#/$defs/Point", "description": "the second"},
        {"$ref": "#/$defs/Node"},
    ] == schema["properties"]["x"]["prefixItems"]


def test_classes_of_the_same_name() -> None:
    """They get names of their own."""

    def make(type_: Any) -> Any:
        return attrs.make_class("Same", {"value": attrs.field(type=type_)})

    one, two = make(int), make(str)
    schema = tool_of(tuple[one, one, two, two, Box[list[one]], Box[list[one]]]).parameters

    definitions = schema["$defs"]
    assert ["Box_list_Same", "Same", "Same_2"] == sorted(definitions)
    assert record({"value": INTEGER}, "value") == definitions["Same"]
    assert record({"value": STRING}, "value") == definitions["Same_2"]


@pytest.mark.parametrize(
    ("type_", "default", "shown"),
    [
        (Box[int], Box(1, [2]), {"value": 1, "others": [2]}),
        (Color | None, Color.RED, "red"),
        (Pair, Pair(1), {"left": 1, "right": "r"}),
        (set[int], frozenset({1}), [1]),
        (int, None, ...),
        (Any, object(), ...),
        (int, object(), ...),
        (float, math.inf, ...),
        (list[int], [object()], ...),
        (float, 1, 1),
        (Size, 2, 2),  # which equals its member
        (list[int], (), []),
        (dict[str, Point], {"a": Point(1)}, ...),
        (list[Point], [Point(1)], ...),
        (datetime.date | str, "2026-01-02", "2026-01-02"),
        (Annotated[list[Annotated[int, annotated_types.Gt(0)]], "a list"], [0], ...),
        (Options, {"name": "a", "order": "asc"}, {"name": "a", "order": "asc"}),
        (Point, Point(1), ...),  # ``total`` is no argument
        (Annotated[int, annotated_types.Gt(0)], 0, ...),
    ],
)
def test_defaults(type_: Any, default: object, shown: object) -> None:
    """A default is shown where it is JSON of the parameter's own type; a parameter with one need not be given."""
    made = tool_of(type_, default)

    assert shown == made.parameters["properties"]["x"].get("default", ...)
    assert "required" not in made.parameters
    assert default is bound(made, "{}")


@pytest.mark.parametrize(
    ("type_", "default", "reason"),
    [
        (int, "a", "its default 'a' does not fit its type: expected an integer$"),
        (int, True, "its default True does not fit"),
        (bool, 0, "expected a boolean"),
        (str, 5, "expected a string"),
        (list[str], "abc", "expected an array"),
        (list[str], [1], "expected an array"),
        (Annotated[str | float, "a text or a number"], [], "expected a string or a number$"),
        (Literal["a", "b"], "c", 'expected one of "a", "b"'),
        (Color, "green", 'expected one of "red", "blue"'),
        (Color, "red", "its default 'red' is a str, where the function otherwise gets a Color$"),
        (datetime.date, "2026-01-02", "is a str, where the function otherwise gets a date"),
        (Point, {"x": 1}, "is a dict, where the function otherwise gets a Point"),
        (Pair, (1, "r"), "expected an object"),
        (int, pydantic.Field(default=5), r"its default is a field of pydantic; put that into .*Annotated\["),
    ],
)
def test_defaults_of_another_type(type_: Any, default: object, reason: str) -> None:
    """They are refused when the tool is made: the function would get what its type hint rules out."""
    with pytest.raises(UsageError, match=f"^tool echo: parameter x: .*{reason}"):
        tool_of(type_, default)


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (complex, "complex cannot be the type of an argument; these can: str, int"),
        (bytes, "bytes cannot be"),
        (Callable[[], int], "cannot be the type of an argument"),
        (list[complex], "complex cannot be"),
        (dict[int, str], "the keys of a dict must be strings"),
        (dict[str | None, str], "the keys of a dict must be strings"),
        (dict[Size, str], "the keys of a dict must be strings"),
        (Odd, "Odd has a value that is no string, number, boolean or None"),
        (T, "the type variable ~T has no value"),
        (Box, r"x.value: the type variable ~T has no value"),
        (attrs.make_class("Bare", ["a"]), "x.a: has no type hint"),
        (collections.namedtuple("Bare", "a"), "x.a: has no type hint"),
        (attrs.make_class("Deep", {"a": attrs.field(type=list[bytes])}), "x.a: bytes cannot be"),
        (Annotated[str, annotated_types.Ge(1)], "the limit 'at least 1' does not apply to a string"),
        (Annotated[int, annotated_types.MinLen(1)], "the limit 'at least 1 long' does not apply to an integer"),
        (
            Annotated[bool | None, annotated_types.MultipleOf(2)],
            "the limit 'a multiple of 2' does not apply to a boolean",
        ),
        (Annotated[list[str], msgspec.Meta(pattern="a")], "the limit 'matching a' does not apply to an array"),
        (Annotated[Point, annotated_types.Lt(3)], "does not apply to an object"),
        (Annotated[Annotated[str, "s"], annotated_types.Le(3)], "does not apply to a string"),
        (Annotated[datetime.date, annotated_types.MaxLen(3)], "does not apply to a date"),
        (Annotated[dict[str, int], annotated_types.Lt(3)], "does not apply to an object"),
        (pydantic.BaseModel, "BaseModel cannot be"),
        (typing.NoReturn, "NoReturn cannot be"),
        (enum.Enum("Nothing", []), "Nothing has no values"),
        (
            Annotated[str, msgspec.Meta(max_length=1), pydantic.Field(pattern="(")],
            "the pattern '\\(' is no regular expr",
        ),
        (OwnInit, "OwnInit has an __init__ of its own"),
        (OwnDataInit, "OwnDataInit has an __init__ of its own"),
        (Annotated[NewType("Note", Annotated[str, "a note"]), annotated_types.Ge(1)], "does not apply to a string"),
    ],
)
def test_types_that_cannot_be_arguments(type_: Any, reason: str) -> None:
    """They are refused when the tool is made, with the name of the parameter and the path inside of it."""
    with pytest.raises(UsageError, match=f"tool echo: parameter .*{reason}"):
        tool_of(type_)


def test_a_type_that_is_refused_is_refused_again() -> None:
    """Nothing half read of it is kept."""
    bad = attrs.make_class("Bad", {"a": attrs.field(type=bytes)})

    for _ in range(2):
        with pytest.raises(UsageError, match="bytes"):
            tool_of(bad | list[bad])


def test_type_aliases() -> None:
    """An alias stands for its type."""
    assert {"type": "array", "items": INTEGER} == property_of(typing_extensions.TypeAliasType("Many", list[int]))


def test_an_alias_that_only_refers_to_itself() -> None:
    """``type Endless = list[Endless]`` of Python 3.12 has no value, and is refused."""

    class TypeAliasType:
        @property
        def __value__(self) -> Any:
            return list[self]  # type: ignore[valid-type]

    with pytest.raises(UsageError, match="parameter x: its type refers to itself"):
        tool_of(TypeAliasType())


def test_models_of_the_api() -> None:
    """They are no types of arguments: what a model writes is not what the server sends."""
    with pytest.raises(UsageError, match="Run is what the server sends, no type of an argument"):
        tool_of(Run)
