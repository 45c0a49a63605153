"""Arguments that do not fit, and members of unions."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import uuid
from typing import Annotated, Any, Literal

import attrs
import pytest

from asyncassist import tool

from .helpers import bound, refusal, tool_of
from .kinds import (
    Color,
    Even,
    Line,
    More,
    Node,
    Options,
    Pair,
    Point,
    Size,
)


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
        (Point | Pair, '{"y": 1}', "x: x: is missing; expected an integer; or left: is missing; expected an integer"),
        (Point | None, '{"y": 1}', "x.x: is missing; expected an integer"),
        (Point | Pair, "[]", "x: expected an object, got an array"),
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
