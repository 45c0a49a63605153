"""What tools return, and what the model is sent of it."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from types import MappingProxyType
from typing import Any, NamedTuple

import attrs
import pytest

from asyncassist import Toolset, tool
from asyncassist.models import MessageText, Run, Truncation
from asyncassist.tools._encoding import text_of

from .helpers import call, outputs, run_of


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Name(enum.StrEnum):
    ADA = "Ada"


class Pair(NamedTuple):
    left: int
    right: Color


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "changed"


@attrs.define
class Point:
    x: int
    _y: float = 0.5
    color: Color | None = None
    total: int = attrs.field(init=False, default=7)


@dataclasses.dataclass
class Line:
    points: list[Point]
    length: float = dataclasses.field(init=False, default=1.5)


CASES: list[tuple[object, str]] = [
    ("as it is", "as it is"),
    ("", ""),
    ("\ud800", "\ud800"),
    (Text("text"), "text"),
    (None, "null"),
    (5, "5"),
    (10**30, "1" + "0" * 30),
    (True, "true"),
    (1.5, "1.5"),
    (Color.RED, '"red"'),
    (Name.ADA, '"Ada"'),
    (Size.SMALL, "1"),
    ([1, "a", None], '[1,"a",null]'),
    ((1, 2), "[1,2]"),
    ({3}, "[3]"),
    (frozenset(), "[]"),
    (range(3), "[0,1,2]"),
    (collections.deque([1]), "[1]"),
    ({"a": {"b": [Color.RED]}}, '{"a":{"b":["red"]}}'),
    (MappingProxyType({"a": 1}), '{"a":1}'),
    ({1: "a", Color.RED: "b", Size.SMALL: "c"}, '{"1":"c","red":"b"}'),
    ({datetime.date(2026, 1, 2): 1, uuid.UUID(int=1): 2}, '{"2026-01-02":1,"00000000-0000-0000-0000-000000000001":2}'),
    (datetime.date(2026, 1, 2), '"2026-01-02"'),
    (datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC), '"2026-01-02T03:04:00Z"'),
    (datetime.time(3, 4), '"03:04:00"'),
    (datetime.timedelta(seconds=90), '"PT90S"'),
    (decimal.Decimal("1.10"), '"1.10"'),
    (pathlib.PurePosixPath("a/b"), '"a/b"'),
    (Pair(1, Color.RED), '{"left":1,"right":"red"}'),
    (Point(1, 2.5, Color.RED), '{"x":1,"y":2.5,"color":"red","total":7}'),
    (Line([Point(1)]), '{"points":[{"x":1,"y":0.5,"color":null,"total":7}],"length":1.5}'),
    (Truncation(type="auto"), '{"type":"auto"}'),
    ({"text": [MessageText(value="hi")]}, '{"text":[{"value":"hi","annotations":[]}]}'),
    (["\ud800"], '["\\ud800"]'),
]


@pytest.mark.parametrize(("value", "text"), CASES, ids=lambda value: repr(value)[:40])
def test_values(value: object, text: str) -> None:
    """A str is sent as it is, None as null, anything else as JSON."""
    assert text == text_of(value)


@attrs.define(slots=False)
class Unfinished:
    x: int = attrs.field(init=False)


DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]
LOOP: list[Any] = []
LOOP.append(LOOP)


@attrs.define
class Ring:
    next: Any = None


class Bottomless(dict[str, object]):
    def items(self) -> Any:
        raise RecursionError


RING = Ring()
RING.next = RING


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "object cannot be sent as JSON"),
        (b"bytes", "bytes cannot be sent as JSON"),
        ([bytearray()], "[0]: bytearray cannot be sent as JSON"),
        ({"a": [1, {"b": Color}]}, "a[1].b: EnumType cannot be sent as JSON"),
        (Point, "type cannot be sent as JSON"),
        (Line([Point(lambda: 1)]), "points[0].x: function cannot be sent as JSON"),  # type: ignore[arg-type]
        (float("nan"), "nan cannot be sent as JSON"),
        ([float("inf")], "[0]: inf cannot be sent as JSON"),
        ({None: 1}, "None: a key must be a string"),
        ({(1, 2): 1}, "['(1, 2)']: a key must be a string"),
        ({True: 1}, "True: a key must be a string"),
        (10**5000, "an integer has too many digits to be sent as JSON"),
        ((n for n in range(3)), "generator cannot be sent as JSON"),
        (Run, "type cannot be sent as JSON"),
        ({10**5000: 1}, "ValueError: Exceeds the limit"),
        (Unfinished(), "AttributeError: 'Unfinished' object has no attribute 'x'"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.anyio
async def test_values_that_cannot_be_sent(value: object, reason: str) -> None:
    """The model is told the type and where it stands; nothing is guessed."""
    told = await output_of(value)

    assert told.startswith(f"Error: the tool returned what cannot be sent: {reason}")


@pytest.mark.parametrize("value", [DEEP, LOOP, RING, Bottomless()], ids=["deep", "loop", "ring", "bottomless"])
@pytest.mark.anyio
async def test_values_that_never_end(value: object) -> None:
    """They are refused, whatever they are made of."""
    told = await output_of(value)

    assert "nested too deeply" in told
    assert len(told) < 300


async def output_of(value: object) -> str:
    """Return what is sent for a value a tool returns."""
    made = tool(lambda: value, name="give")
    return outputs(await Toolset([made]).begin().answer(run_of(call("1", "give"))))["1"]
