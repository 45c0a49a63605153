"""Which member of a union a JSON value looks like, as far as can be seen without taking it apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from asyncassist.tools._shapes import (
    Choice,
    Entries,
    Field,
    Items,
    Noted,
    Null,
    OneOf,
    Raw,
    Record,
    Row,
    Scalar,
    Shape,
    Text,
    takes_null,
)

__all__ = ["candidates", "is_same", "stands_for_default"]


def is_same(written: object, value: object) -> bool:
    """Whether two JSON scalars are the same: 1 is 1.0, but it is not true."""
    return written == value and isinstance(written, bool) == isinstance(value, bool)


def stands_for_default(field: Field, value: object) -> bool:
    """Whether a field's value is the null that strict mode has for a value that is absent."""
    return value is None and not field.is_required and not takes_null(field.shape)


def candidates(shape: OneOf, value: object, *, null_is_absent: bool) -> Sequence[Shape]:
    """Return the members of a union that may take a value, the narrowest first.

    An object that has the names of no class among the members is compared with all of them, so that the error tells
    what it lacks.
    """
    members = sorted(shape.members, key=_rank)
    fitting = [member for member in members if _may_take(member, value, null_is_absent)]
    if not fitting and isinstance(value, dict):
        return [member for member in members if isinstance(_bare(member), Record)]
    return fitting


def _bare(shape: Shape) -> Shape:
    return _bare(shape.shape) if isinstance(shape, Noted) else shape


def _rank(shape: Shape) -> int:
    match _bare(shape):
        case Choice():
            return 0
        case Text():
            return 1
        case Scalar(type=type_):
            return {bool: 2, int: 2, float: 3, str: 4}[type_]
        case Raw():
            return 9
        case _:
            return 5


def _may_take(shape: Shape, value: Any, null_is_absent: bool) -> bool:
    match shape:
        case Noted():
            return _may_take(shape.shape, value, null_is_absent)
        case Raw():
            return True
        case OneOf():
            return any(_may_take(member, value, null_is_absent) for member in shape.members)
        case Null():
            return value is None
        case Scalar():
            return _is_of(shape.type, value)
        case Choice():
            return not isinstance(value, (list, dict))
        case Text():
            return isinstance(value, str)
        case Items() | Row():
            return isinstance(value, list)
        case Entries():
            return isinstance(value, dict)
        case Record():  # pragma: no branch
            return isinstance(value, dict) and _has_names_of(shape, cast("dict[str, Any]", value), null_is_absent)


def _is_of(type_: type[object], value: object) -> bool:
    if type_ in (int, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, type_)


def _has_names_of(record: Record, values: dict[str, Any], null_is_absent: bool) -> bool:
    if not values.keys() <= {field.name for field in record.fields}:
        return False
    for field in record.fields:
        if field.name not in values:
            if field.is_required:
                return False
            continue
        value = values[field.name]
        tag = _bare(field.shape)
        is_absent = null_is_absent and stands_for_default(field, value)
        if isinstance(tag, Choice) and not is_absent and not any(is_same(written, value) for written, _ in tag.members):
            return False
    return True
