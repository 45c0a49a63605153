"""Classes arguments are made of, and their schemas."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Annotated, Generic, Literal, NamedTuple, NewType, NotRequired, Required, TypedDict, TypeVar

import attrs
import typing_extensions

__all__ = [
    "INTEGER",
    "MORE",
    "NODE",
    "POINT",
    "STRING",
    "Base",
    "Box",
    "Color",
    "Even",
    "Half",
    "IntBox",
    "Line",
    "More",
    "Node",
    "Odd",
    "Options",
    "Other",
    "OwnDataInit",
    "OwnInit",
    "Pair",
    "Point",
    "Size",
    "T",
    "UserId",
    "name_of",
    "record",
]

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


@attrs.define
class OwnInit:
    n: int

    def __init__(self, number: int) -> None:
        self.n = number


@dataclasses.dataclass(init=False)
class OwnDataInit:
    n: int

    def __init__(self, number: int) -> None:
        self.n = number


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


def name_of(case: object) -> str | None:
    return str(case).replace("tests.tools.test_types.", "") if not isinstance(case, (str, dict)) else None
