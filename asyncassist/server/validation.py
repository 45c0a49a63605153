"""Checks for what a client sent: small functions to compose, each takes a value and the path to it.

A check returns the value to go on with or raises an ``ApiError`` that names the path in ``param``. Scalars are never
coerced. Fields a record does not know are left out, as the servers in the field do; `unknown_field` finds them for
those who would refuse them. ``bodies.py`` composes the records.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, TypeAlias, cast

from asyncassist.server import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "Check",
    "array",
    "boolean",
    "either",
    "integer",
    "json_object",
    "metadata",
    "name",
    "nullable",
    "number",
    "one_of",
    "record",
    "refused",
    "string",
    "tagged",
    "unknown_field",
]

Check: TypeAlias = "Callable[[object, str], object]"

#: Free-form JSON (the parameters of a function, a JSON schema) may nest this deep.
MAX_DEPTH = 100

MAX_METADATA_KEYS = 16
MAX_METADATA_KEY_LENGTH = 64
MAX_METADATA_VALUE_LENGTH = 512

#: Integers in free-form JSON may have this many bits.
_LONGEST_INTEGER = 1024
_LONGEST_SHOWN = 64

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_KINDS: dict[type[object], str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    type(None): "null",
}


def _wrong_type(path: str, expected: str, value: object) -> errors.ApiError:
    return errors.invalid_type(path, expected, _KINDS[type(value)])


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def string(maximum: int | None = None) -> Check:
    """A string of at most ``maximum`` characters."""

    def check(value: object, path: str) -> str:
        if type(value) is not str:
            raise _wrong_type(path, "a string", value)
        if maximum is not None and len(value) > maximum:
            raise _too_long(path, "string", maximum, len(value))
        return value

    return check


def _too_long(path: str, what: str, maximum: int, length: int) -> errors.ApiError:
    unit = "properties" if what == "object" else "length"
    return errors.out_of_bounds(
        path, f"{what} too long", f"{unit} of at most {maximum}", length, f"{what}_above_max_length"
    )


def name(maximum: int = 64) -> Check:
    """A string that can name a function or a schema: letters, digits, underscores and dashes."""
    check_string = string(maximum)

    def check(value: object, path: str) -> object:
        check_string(value, path)
        if not _NAME.fullmatch(cast("str", value)):
            raise errors.out_of_bounds(
                path,
                "string does not match pattern",
                f"a match of '{_NAME.pattern}'",
                f"'{_shown(value)}'",
                "invalid_value",
            )
        return value

    return check


def one_of(*supported: str) -> Check:
    """One of a few strings."""

    def check(value: object, path: str) -> str:
        if type(value) is not str:
            raise _wrong_type(path, "a string", value)
        if value not in supported:
            raise errors.invalid_value(path, _shown(value), supported)
        return value

    return check


def boolean(value: object, path: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise _wrong_type(path, "a boolean", value)
    return value


def number(minimum: float, maximum: float) -> Check:
    """An integer or a decimal within its limits."""

    def check(value: object, path: str) -> int | float:
        if (type(value) is not int and type(value) is not float) or value != value:
            raise _wrong_type(path, "a number", value)
        return _within(value, path, "number", minimum, maximum)

    return check


def integer(minimum: int, maximum: int = 2**53 - 1) -> Check:
    """An integer within its limits; a decimal without a fraction is one too."""

    def check(value: object, path: str) -> int | float:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            raise _wrong_type(path, "an integer", value)
        return _within(value, path, "integer", minimum, maximum)

    return check


def _within(value: float, path: str, what: str, minimum: float, maximum: float) -> float:
    if value < minimum:
        raise errors.out_of_bounds(
            path, f"{what} below minimum value", f"a value >= {minimum}", _shown(value), f"{what}_below_min_value"
        )
    if value > maximum:
        raise errors.out_of_bounds(
            path, f"{what} above maximum value", f"a value <= {maximum}", _shown(value), f"{what}_above_max_value"
        )
    return value


def _shown(value: object) -> str:
    """A value as a message may repeat it: short, whatever came."""
    if _is_huge(value):
        return "a very large integer"
    text = str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def nullable(check: Check) -> Check:
    """What ``check`` accepts, or null."""
    return lambda value, path: None if value is None else check(value, path)


def array(item: Check, *, minimum: int = 0, maximum: int | None = None) -> Check:
    """An array of at most ``maximum`` values, each of which ``item`` accepts."""

    def check(value: object, path: str) -> list[object]:
        if type(value) is not list:
            raise _wrong_type(path, "an array", value)
        items = cast("list[object]", value)
        if len(items) < minimum:
            raise errors.out_of_bounds(
                path, "array too short", f"length of at least {minimum}", len(items), "array_below_min_length"
            )
        if maximum is not None and len(items) > maximum:
            raise _too_long(path, "array", maximum, len(items))
        return [item(entry, f"{path}[{index}]") for index, entry in enumerate(items)]

    return check


def _object(value: object, path: str) -> dict[str, object]:
    if type(value) is not dict:
        raise _wrong_type(path or "body", "an object", value)
    return cast("dict[str, object]", value)


def record(required: Mapping[str, Check] | None = None, optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these fields. Absent optional fields stay absent, others are dropped."""
    fields = {**(required or {}), **(optional or {})}
    needed = tuple(required or ())

    def check(value: object, path: str) -> dict[str, object]:
        given = _object(value, path)
        for key in needed:
            if key not in given:
                raise errors.missing_parameter(_join(path, key))
        return {key: field(given[key], _join(path, key)) for key, field in fields.items() if key in given}

    return check


def tagged(members: Mapping[str, Check]) -> Check:
    """An object whose ``type`` says which of the ``members`` it has to fit. The tag is kept."""
    check_tag = one_of(*members)

    def check(value: object, path: str) -> dict[str, object]:
        given = _object(value, path)
        tag_path = _join(path, "type")
        if "type" not in given:
            raise errors.missing_parameter(tag_path)
        tag = cast("str", check_tag(given["type"], tag_path))
        return {"type": tag, **cast("dict[str, object]", members[tag](given, path))}

    return check


def either(scalar: Check, other: Check) -> Check:
    """A string that ``scalar`` accepts, or else what ``other`` accepts."""
    return lambda value, path: scalar(value, path) if type(value) is str else other(value, path)


def metadata(value: object, path: str) -> dict[str, str]:
    """Up to 16 pairs of strings."""
    given = _object(value, path)
    if len(given) > MAX_METADATA_KEYS:
        raise _too_long(path, "object", MAX_METADATA_KEYS, len(given))
    check_value = string(MAX_METADATA_VALUE_LENGTH)
    for key, entry in given.items():
        if len(key) > MAX_METADATA_KEY_LENGTH:
            raise _too_long(_join(path, _shown(key)), "key", MAX_METADATA_KEY_LENGTH, len(key))
        check_value(entry, _join(path, key))
    return cast("dict[str, str]", given)


def json_object(value: object, path: str) -> dict[str, object]:
    """An object of any content that can go back out as JSON: no NaN, nothing without measure."""
    given = _object(value, path)
    level: list[object] = [given]
    for _ in range(MAX_DEPTH):
        level = [entry for container in level for entry in _entries(container, path)]
        if not level:
            return given
    raise errors.out_of_bounds(path, "object too deep", f"at most {MAX_DEPTH} levels", "more", "object_above_max_depth")


def _entries(value: object, path: str) -> list[object]:
    if type(value) is dict:
        return list(cast("dict[str, object]", value).values())
    if type(value) is list:
        return cast("list[object]", value)
    if (type(value) is float and not math.isfinite(value)) or _is_huge(value):
        raise errors.out_of_bounds(path, "number out of range", "a finite number", _shown(value), "invalid_value")
    return []


def unknown_field(given: object, checked: object, path: str = "") -> str | None:
    """Find a field that a check has left out, and give its path; None where it took all there was.

    Args:
        given: the JSON that came.
        checked: what the check made of it.
        path: where it stands; empty for the body itself.
    """
    inside: Iterable[tuple[object, object, str]] = ()
    if isinstance(given, dict) and isinstance(checked, dict):
        entries, known = cast("dict[str, object]", given), cast("dict[str, object]", checked)
        for key in entries:
            if key not in known:
                return _join(path, _shown(key))
        inside = [(value, known[key], _join(path, key)) for key, value in entries.items()]
    elif isinstance(given, list) and isinstance(checked, list):
        items = zip(cast("list[object]", given), cast("list[object]", checked), strict=True)
        inside = [(item, taken, f"{path}[{index}]") for index, (item, taken) in enumerate(items)]
    return next((found for part in inside if (found := unknown_field(*part)) is not None), None)


def _is_huge(value: object) -> bool:
    return type(value) is int and value.bit_length() > _LONGEST_INTEGER


def refused(message: str) -> Check:
    """Nothing: the API has this field, this server does not offer it."""

    def check(value: object, path: str) -> object:
        raise errors.not_offered(path, message)

    return check
