"""Limits on values, as annotations state them: ``Annotated[int, Ge(1)]``, ``Annotated[str, MaxLen(80)]``.

They are known by their attributes, which the objects of ``annotated-types``, ``msgspec.Meta`` and others share.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sized
from numbers import Number
from typing import Any, Final, cast

from attrs import evolve, field, frozen

from asyncassist._wire._misfit import MisfitError

__all__ = ["ANY_KIND", "NO_LIMITS", "Limits", "read_metadata"]

_SIZES = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
_ORDERED: Final = frozenset({"number", "ordered"})
_SIZED: Final = frozenset(_SIZES)
ANY_KIND: Final = _ORDERED | _SIZED
"""The kinds of values limits are told apart by; "ordered" are values written as strings that have an order."""


@frozen
class Limits:
    """What a value must keep to. A limit says nothing of values of another kind, as in JSON Schema."""

    gt: Any = None
    ge: Any = None
    lt: Any = None
    le: Any = None
    multiple_of: Any = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    predicates: tuple[Callable[[Any], object], ...] = field(default=())

    def rules(self) -> list[str]:
        """Say the limits in words."""
        rules = [rule for group, _ in self.by_kind() for rule in group]
        return [*rules, *(f"accepted by {_name_of(predicate)}" for predicate in self.predicates)]

    def by_kind(self) -> list[tuple[list[str], frozenset[str]]]:
        """Return the limits in words, with the kinds of values they can bind."""
        order = [f"{_WORDS[name]} {limit}" for name in _WORDS if (limit := getattr(self, name)) is not None]
        steps = [] if self.multiple_of is None else [f"a multiple of {self.multiple_of}"]
        sizes = [f"at least {self.min_length} long"] if self.min_length else []
        sizes += [] if self.max_length is None else [f"at most {self.max_length} long"]
        patterns = [] if self.pattern is None else [f"matching {self.pattern}"]
        groups: list[tuple[list[str], frozenset[str]]]
        groups = [(order, _ORDERED), (steps, _ORDERED), (sizes, _SIZED), (patterns, frozenset({"string"}))]
        return [group for group in groups if group[0]]

    def keywords(self, kind: str) -> dict[str, object]:
        """Return the keywords of JSON Schema for a value of a JSON type."""
        words: dict[str, object] = {}
        if kind in ("integer", "number"):
            words = {
                "exclusiveMinimum": self.gt,
                "minimum": self.ge,
                "exclusiveMaximum": self.lt,
                "maximum": self.le,
                "multipleOf": self.multiple_of,
            }
        elif kind in _SIZES:
            least, most = _SIZES[kind]
            words = {least: self.min_length or None, most: self.max_length}
            if kind == "string":
                words["pattern"] = self.pattern
        return {name: value for name, value in words.items() if _is_json(value)}

    def broken_by(self, value: object) -> str | None:
        """Return the first rule a value breaks, in words."""
        for name, words in _WORDS.items():
            limit = getattr(self, name)
            if limit is not None and _is_comparable(value, limit) and not _keeps(name, value, limit):
                return f"expected a value {words} {limit}"
        if self.multiple_of is not None and _is_number(value) and not _is_multiple(value, self.multiple_of):
            return f"expected a multiple of {self.multiple_of}"
        if isinstance(value, Sized):
            size = len(value)
            unit = "characters" if isinstance(value, str) else "items"
            if self.min_length is not None and size < self.min_length:
                return f"expected at least {self.min_length} {unit}, got {size}"
            if self.max_length is not None and size > self.max_length:
                return f"expected at most {self.max_length} {unit}, got {size}"
        if self.pattern is not None and isinstance(value, str) and not re.search(self.pattern, value):
            return f"expected a string matching {self.pattern}"
        for predicate in self.predicates:
            if not predicate(value):
                return f"not accepted by {_name_of(predicate)}"
        return None


NO_LIMITS: Final = Limits()

_WORDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}

_KEEPS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, limit: value > limit,
    "ge": lambda value, limit: value >= limit,
    "lt": lambda value, limit: value < limit,
    "le": lambda value, limit: value <= limit,
}


def _keeps(name: str, value: object, limit: object) -> bool:
    try:
        return _KEEPS[name](value, limit)
    except TypeError:  # a time with a zone against one without
        return False


def _is_json(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, (int, str))


def _name_of(predicate: object) -> str:
    return str(getattr(predicate, "__name__", type(predicate).__name__))


def _is_number(value: object) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool)


def _is_comparable(value: object, limit: object) -> bool:
    return _is_number(value) if _is_number(limit) else isinstance(value, type(limit))


def _is_multiple(value: Any, step: Any) -> bool:
    if not isinstance(value, float) and not isinstance(step, float):
        return bool(value % step == 0)
    try:
        quotient = float(value) / float(step)
        return quotient == int(quotient)
    except OverflowError:
        return False


def read_metadata(metadata: Iterable[object]) -> tuple[str | None, Limits]:
    """Return the description and the limits in the metadata of an annotation; what means neither is left alone."""
    description: str | None = None
    limits = NO_LIMITS
    for note in metadata:
        if isinstance(note, str):
            description = note
            continue
        if isinstance(nested := getattr(note, "metadata", None), list):  # pydantic.Field keeps its limits there
            inner, more = read_metadata(cast("list[object]", nested))
            description, limits = inner or description, _joined(limits, more)
        for name in ("description", "documentation"):
            if isinstance(text := getattr(note, name, None), str):
                description = text
        limits = _joined(limits, _limits_of(note))
    return description, limits


def _limits_of(note: object) -> Limits:
    found: dict[str, Any] = {}
    for name in ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern"):
        value = getattr(note, name, None)
        if value is not None:
            found[name] = cast("Any", value).pattern if isinstance(value, re.Pattern) else value
    try:
        re.compile(found.get("pattern", ""))
    except re.error:
        raise MisfitError(f"the pattern {found['pattern']!r} is no regular expression") from None
    if type(note).__name__ == "Predicate" and callable(test := getattr(note, "func", None)):
        found["predicates"] = (test,)
    return Limits(**found) if found else NO_LIMITS


def _joined(old: Limits, new: Limits) -> Limits:
    if new is NO_LIMITS:
        return old
    given = {name: value for name in Limits.__annotations__ if (value := getattr(new, name)) is not None}
    given["predicates"] = old.predicates + new.predicates
    return evolve(old, **given)
