"""What Python's types mean in JSON: each type an argument may have is taken apart once, into a shape.

The JSON Schema a model is shown and the check its arguments go through are both made of shapes, so that they agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import field, frozen, mutable

from asyncassist.models import UNSET
from asyncassist.tools._limits import Limits

__all__ = [
    "Choice",
    "Entries",
    "Field",
    "Items",
    "Noted",
    "Null",
    "OneOf",
    "Raw",
    "Record",
    "Row",
    "Scalar",
    "Shape",
    "Text",
    "expected",
    "takes_null",
]


@frozen
class Raw:
    """Any JSON value, handed on as it is."""


@frozen
class Null:
    """None."""


@frozen
class Scalar:
    """A string, integer, number or boolean."""

    type: type[str] | type[int] | type[float] | type[bool]


@frozen
class Text:
    """A value that is written as a string, such as a date."""

    name: str
    """With its article, as in "expected a date"."""
    format: str | None
    """The name JSON Schema has for it."""
    read: Callable[[str], object] = field(eq=False)
    """Raises ValueError."""


@frozen
class Choice:
    """One of some values, each with the JSON value it is written as."""

    members: tuple[tuple[str | int | float | bool | None, object], ...]


@frozen
class Items:
    """Any number of values of one shape."""

    item: Shape
    make: Callable[[list[object]], object]
    is_unique: bool = False


@frozen
class Row:
    """A fixed number of values, each of its own shape: a tuple."""

    items: tuple[Shape, ...]


@frozen
class Entries:
    """Values of one shape by name."""

    key: Shape
    value: Shape


@frozen
class Field:
    """One value of a record or one parameter of a function."""

    name: str
    """In JSON."""
    argument: str
    """The name of the argument that takes it."""
    shape: Shape
    is_required: bool
    default: object = UNSET
    """UNSET where there is none, or none that can be shown."""


@mutable(eq=False)
class Record:
    """Values of different shapes by name: a class, or the parameters of a function."""

    name: str
    make: Callable[..., object]
    description: str | None = None
    # Filled when the record exists, because a class may have fields of its own type.
    fields: Sequence[Field] = ()


@frozen
class OneOf:
    """Any of several shapes."""

    members: tuple[Shape, ...]


@frozen
class Noted:
    """A shape with what an annotation says besides."""

    shape: Shape
    description: str | None
    limits: Limits


Shape: TypeAlias = Raw | Null | Scalar | Text | Choice | Items | Row | Entries | Record | OneOf | Noted

_SCALARS: dict[type[object], str] = {str: "a string", int: "an integer", float: "a number", bool: "a boolean"}


def expected(shape: Shape) -> str:
    """Say in words what a value of the shape looks like in JSON, as in "expected a string"."""
    match shape:
        case Raw():
            return "any value"
        case Null():
            return "null"
        case Scalar():
            return _SCALARS[shape.type]
        case Text():
            return f"{shape.name} in a string"
        case Choice():
            names = ", ".join(quoted(value) for value, _ in shape.members[:20])
            return f"one of {names}{', ...' if len(shape.members) > 20 else ''}"
        case Items() | Row():
            return "an array"
        case Entries() | Record():
            return "an object"
        case OneOf():
            return " or ".join(dict.fromkeys(expected(member) for member in shape.members))
        case Noted():  # pragma: no branch
            rules = shape.limits.rules()
            return ", ".join([expected(shape.shape), *rules])


def quoted(value: object) -> str:
    """Write a JSON scalar as JSON does."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f'"{value}"' if isinstance(value, str) else str(value)


def takes_null(shape: Shape) -> bool:
    """Return whether null fits the shape."""
    match shape:
        case Raw() | Null():
            return True
        case Choice():
            return any(value is None for value, _ in shape.members)
        case OneOf():
            return any(takes_null(member) for member in shape.members)
        case Noted():
            return takes_null(shape.shape)
        case _:
            return False
