"""Types: the JSON Schema of each, and what is made of arguments of it."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import re
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Required, TypedDict, TypeVar

import annotated_types
import attrs
import jsonschema
import msgspec
import pydantic
import pytest
import typing_extensions

from asyncassist import UsageError, tool
from asyncassist.models import Run

from .helpers import bound, property_of, refusal, tool_of

T = TypeVar("T")
UserId = NewType("UserId", int)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Half(enum.Enum):
    HALF = 0.5
    TWO = 2.0


class Odd(enum.Enum):
    PAIR = (1, 2)


@attrs.frozen
class Point:
    """A point on the map.

    Attributes:
        x: to the east
        y: to the north
    """

    x: int
    y: Annotated[float, "how far north"] = 0.0
    _hidden: bool = True
    total: int = attrs.field(init=False, default=5)
    tags: list[str] = attrs.field(factory=list)


@dataclasses.dataclass
class Line:
    start: Point
    end: Point | None = None
    color: Color = Color.RED
    length: int = dataclasses.field(init=False, default=1)
    marks: list[int] = dataclasses.field(default_factory=list)
    width: dataclasses.InitVar[int] = 1

    def __post_init__(self, width: int) -> None:
        self.length = width


class Base(TypedDict):
    name: str


class Options(Base, total=False):
    """Options."""

    limit: int
    order: Required[Literal["asc", "desc"]]


class More(Options):
    next: NotRequired[Annotated[str, "where to go on"]]
    last: Annotated[Required[int], "the last one"]


class Other(typing_extensions.TypedDict):
    name: typing_extensions.NotRequired[str]


class Pair(NamedTuple):
    left: int
    right: str = "r"


@attrs.define
class Box(Generic[T]):
    value: T
    others: list[T] = attrs.field(factory=list)


@attrs.define
class IntBox(Box[int]):
    pass


@attrs.define
class Node:
    name: str
    children: list[Node] = attrs.field(factory=list)


@attrs.define
class Even:
    n: int = attrs.field()

    @n.validator
    def _check(self, _: object, value: int) -> None:
        if value % 2:
            raise ValueError(f"{value} is odd")


STRING = {"type": "string"}
INTEGER = {"type": "integer"}
POINT = {
    "type": "object",
    "properties": {
        "x": {"type": "integer", "description": "to the east"},
        "y": {"type": "number", "description": "how far north", "default": 0.0},
        "hidden": {"type": "boolean", "default": True},
        "tags": {"type": "array", "items": STRING},
    },
    "required": ["x"],
    "additionalProperties": False,
    "description": "A point on the map.",
}
NODE = {
    "type": "object",
    "properties": {"name": STRING, "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
    "required": ["name"],
    "additionalProperties": False,
}


def record(properties: Mapping[str, object], *required: str) -> dict[str, object]:
    made: dict[str, object] = {"type": "object", "properties": properties}
    return {**made, **({"required": list(required)} if required else {}), "additionalProperties": False}


MORE = record(
    {
        "name": STRING,
        "limit": INTEGER,
        "order": {"type": "string", "enum": ["asc", "desc"]},
        "next": {"type": "string", "description": "where to go on"},
        "last": {"type": "integer", "description": "the last one"},
    },
    *("name", "order", "last"),
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


def name_of(case: object) -> str | None:
    return str(case).replace("tests.tools.test_types.", "") if not isinstance(case, (str, dict)) else None


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
        (Color, "green", ...),
        (Any, object(), ...),
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


@pytest.mark.parametrize(
    ("type_", "text", "reason"),
    [
        (str, "1", "x: expected a string, got a number"),
        (str, "null", "x: expected a string, got null"),
        (int, '"1"', "x: expected an integer, got a string"),
        (int, "true", "x: expected an integer, got a boolean"),
        (int, "1.5", "x: expected an integer, got 1.5"),
        (float, "true", "x: expected a number, got a boolean"),
        (float, "1" * 400, "x: the number is too large"),
        (bool, "1", "x: expected a boolean, got a number"),
        (None, "0", "x: expected null, got a number"),
        (list[int], '"123"', "x: expected an array, got a string"),
        (list[int], "{}", "x: expected an array, got an object"),
        (list[list[int]], '[[], [1, "a"]]', "x[1][1]: expected an integer, got a string"),
        (tuple[int, str], "[1]", "x: expected 2 items, got 1"),
        (tuple[int, str], "{}", "x: expected an array, got an object"),
        (tuple[int, str], "[1, 2]", "x[1]: expected a string, got a number"),
        (set[int], "[1, 1.0]", "x: expected items that differ"),
        (set[Node], '[{"name": "a"}]', "x: the items cannot be kept in a set"),
        (dict[str, int], "[]", "x: expected an object, got an array"),
        (dict[str, int], '{"a b": "c"}', "x['a b']: expected an integer, got a string"),
        (dict[Color, int], '{"green": 1}', 'x.green: expected one of "red", "blue"'),
        (Literal["a", 1], "true", 'x: expected one of "a", 1'),
        (Literal[True, None], "1", "x: expected one of true, null"),
        (Literal[1], "1.5", "x: expected one of 1"),
        (Color, '"RED"', 'x: expected one of "red", "blue"'),
        (Size, '"1"', "x: expected one of 1, 2"),
        (
            Literal[tuple(range(30))],
            "99",
            "x: expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, ...",
        ),
        (datetime.date, '"2026-13-01"', "x: expected a date (YYYY-MM-DD) in a string"),
        (datetime.date, "5", "x: expected a date (YYYY-MM-DD) in a string, got a number"),
        (datetime.datetime, '"\\ud800"', "x: expected a date and time (ISO 8601) in a string"),
        (decimal.Decimal, '"NaN"', "x: expected a decimal number in a string"),
        (decimal.Decimal, '"one"', "x: expected a decimal number in a string"),
        (uuid.UUID, '"5"', "x: expected a UUID in a string"),
        (Point, "[]", "x: expected an object, got an array"),
        (Point, "{}", "x.x: is missing; expected an integer"),
        (Point, '{"x": null}', "x.x: expected an integer, got null"),
        (Point, '{"x": 1, "_hidden": true}', "x._hidden: is unknown; the names are x, y, hidden, tags"),
        (attrs.make_class("Empty", {}), '{"a": 1}', "x.a: is unknown; there are no names"),
        (Line, '{"start": {"x": 1}, "end": {"x": []}}', "x.end.x: expected an integer, got an array"),
        (More, '{"name": "n", "order": "up", "last": 1}', 'x.order: expected one of "asc", "desc"'),
        (Options, '{"name": "n", "last": 1}', 'x.order: is missing; expected one of "asc", "desc"'),
        (Even, '{"n": 3}', "x: 3 is odd"),
        (int | None, '"a"', "x: expected an integer or null, got a string"),
        (int | bool | None, '"a"', "x: expected an integer or a boolean or null, got a string"),
        (
            list[int] | list[str],
            "[1, null]",
            "x: [1]: expected an integer, got null; or [0]: expected a string, got a number",
        ),
        (Point | Pair, '{"y": 1}', "x: expected an object, got an object"),
        (Point | int, '{"x": "a"}', "x.x: expected an integer, got a string"),
        (Any, "[NaN]", "x[0]: NaN and Infinity are no JSON"),
        (float, "-Infinity", "x: NaN and Infinity are no JSON"),
    ],
)
def test_arguments_that_do_not_fit(type_: Any, text: str, reason: str) -> None:
    """Nothing is coerced: the model is told which argument is wrong, where, and what is expected."""
    assert reason == refusal(tool_of(type_), f'{{"x": {text}}}')


def test_classes_that_exhaust_the_stack() -> None:
    """A class that cannot be made is refused like any other misfit."""

    @dataclasses.dataclass
    class Endless:
        depth: int

        def __post_init__(self) -> None:
            Endless(self.depth + 1)

    @tool
    def dive(x: Endless) -> None: ...

    assert "x: nested too deeply" == refusal(dive, '{"x": {"depth": 1}}')


def test_members_of_unions() -> None:
    """The narrowest member that fits is taken, whatever their order."""
    made = tool_of(str | float | int | datetime.date | Color | None | list[str | int])

    for text, value in {
        '"2026-01-02"': datetime.date(2026, 1, 2),
        '"red"': Color.RED,
        '"green"': "green",
        "1": 1,
        "1.5": 1.5,
        "null": None,
        '["a", 1]': ["a", 1],
    }.items():
        assert value == bound(made, f'{{"x": {text}}}')
        assert type(value) is type(bound(made, f'{{"x": {text}}}'))


def test_members_told_apart_by_a_tag() -> None:
    """Classes whose Literal fields differ are told apart by them, so that the error is the right one's."""

    @attrs.define
    class Cat:
        kind: Literal["cat"]
        lives: int

    @attrs.define
    class Dog:
        kind: Annotated[Literal["dog"], "of animal"]
        lives: str

    made = tool_of(Cat | Dog | Any)
    assert Dog("dog", "a") == bound(made, '{"x": {"kind": "dog", "lives": "a"}}')
    assert "x.lives: expected an integer, got a string" == refusal(
        tool_of(Cat | Dog), '{"x": {"kind": "cat", "lives": "a"}}'
    )
    assert {"kind": "cow"} == bound(made, '{"x": {"kind": "cow"}}')
    assert [{"kind": "cow"}] == bound(
        tool_of(list[Cat] | list[Annotated[Cat | Any, "any"]]), '{"x": [{"kind": "cow"}]}'
    )


def test_types_that_differ_only_deep_inside() -> None:
    """What a hostile model makes of them is given up, not tried for ever."""

    @attrs.define
    class Left:
        next: Left | Right | None
        last: int

    @attrs.define
    class Right:
        next: Left | Right | None
        last: str

    text = "null"
    for _ in range(60):
        text = f'{{"next": {text}, "last": null}}'

    @tool
    def walk(x: Left | Right) -> None: ...

    told = refusal(walk, f'{{"x": {text}}}')
    assert "there are too many ways to read it" in told
    assert len(told) < 1000


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


def test_models_of_the_api() -> None:
    """They are no types of arguments: what a model writes is not what the server sends."""
    with pytest.raises(UsageError, match="Run is what the server sends, no type of an argument"):
        tool_of(Run)
