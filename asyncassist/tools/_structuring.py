"""JSON values to Python values, by shapes: checked, never coerced."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from asyncassist._wire._misfit import MAX_DEPTH, MisfitError, kind_of
from asyncassist._wire.converter import converter
from asyncassist.models import UNSET
from asyncassist.tools._matching import candidates, is_same, stands_for_default
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
    expected,
)

__all__ = ["check_raw", "structure", "structure_arguments"]

_Hook: TypeAlias = Callable[[Any, Any], Any]
_HOOKS: dict[type[object], _Hook] = {type_: converter.get_structure_hook(type_) for type_ in (str, int, float, bool)}


def check_raw(value: object, level: int = 0) -> None:
    """Refuse JSON that is nested too deeply, or holds a number JSON has not.

    Raises:
        MisfitError: with the path of the part at fault.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise MisfitError("NaN and Infinity are no JSON")
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        pairs = enumerate(cast("Sequence[Any]", value))
    else:
        return
    if level >= MAX_DEPTH:
        raise MisfitError(f"nested more than {MAX_DEPTH} levels deep")
    for key, item in pairs:
        try:
            check_raw(item, level + 1)
        except MisfitError as misfit:
            misfit.segments.append(key)
            raise


def structure(shape: Shape, value: Any, *, null_is_absent: bool = False, checks_limits: bool = True) -> object:
    """Turn a JSON value into what the shape stands for.

    Args:
        null_is_absent: take null for absent where a field has a default and does not take null.
        checks_limits: refuse what keeps to the types but not to the limits in annotations.

    Raises:
        MisfitError: it does not fit.
    """
    return _Structuring(null_is_absent, checks_limits=checks_limits).value(shape, value)


def structure_arguments(
    parameters: Record, values: Mapping[str, Any], *, null_is_absent: bool
) -> tuple[dict[str, object], list[str]]:
    """Turn the arguments of a function into what it is called with, and name the problems of those that do not fit."""
    structuring = _Structuring(null_is_absent)
    arguments: dict[str, object] = {}
    problems: list[str] = []
    for field in parameters.fields:
        try:
            structuring.put_field(arguments, field, values)
        except MisfitError as misfit:
            problems.append(f"{misfit.path}: {misfit.reason}")
        except RecursionError:
            problems.append(f"{field.name}: nested too deeply")
    problems += [f"{misfit.path}: {misfit.reason}" for misfit in _unknown(parameters, values)]
    return arguments, problems


_MOST_TRIES = 10_000
"""How many members of unions are tried for one value: types that differ only deep inside could be tried without end."""


class _Structuring:
    """Structures one value."""

    def __init__(self, null_is_absent: bool, *, checks_limits: bool = True) -> None:
        self._null_is_absent = null_is_absent
        self._checks_limits = checks_limits
        self._tries = 0

    def value(self, shape: Shape, value: Any) -> object:
        match shape:
            case Raw():
                return value
            case Null():
                if value is not None:
                    raise _misfit(shape, value)
                return None
            case Scalar():
                return _scalar(shape.type, value)
            case Text():
                return _text(shape, value)
            case Choice():
                return _choice(shape, value)
            case Items():
                return self._items(shape, value)
            case Row():
                return self._row(shape, value)
            case Entries():
                return self._entries(shape, value)
            case Record():
                return self._record(shape, value)
            case OneOf():
                return self._one_of(shape, value)
            case Noted():  # pragma: no branch
                result = self.value(shape.shape, value)
                broken = shape.limits.broken_by(result) if self._checks_limits else None
                if broken is not None:
                    raise MisfitError(broken)
                return result

    def _at(self, segment: str | int, shape: Shape, value: Any) -> object:
        try:
            return self.value(shape, value)
        except MisfitError as misfit:
            misfit.segments.append(segment)
            raise

    def _items(self, shape: Items, value: Any) -> object:
        value = _list(shape, value)
        items = [self._at(index, shape.item, item) for index, item in enumerate(value)]
        try:
            made: Any = shape.make(items)
        except TypeError:
            raise MisfitError("the items cannot be kept in a set") from None
        if shape.is_unique and len(made) < len(items):
            raise MisfitError("expected items that differ")
        return made

    def _row(self, shape: Row, value: Any) -> object:
        value = _list(shape, value)
        if len(value) != len(shape.items):
            raise MisfitError(f"expected {len(shape.items)} items, got {len(value)}")
        return tuple(self._at(index, item, value[index]) for index, item in enumerate(shape.items))

    def _entries(self, shape: Entries, value: Any) -> object:
        value = _dict(shape, value)
        return {self._at(key, shape.key, key): self._at(key, shape.value, item) for key, item in value.items()}

    def _record(self, shape: Record, value: Any) -> object:
        value = _dict(shape, value)
        arguments: dict[str, object] = {}
        for field in shape.fields:
            self.put_field(arguments, field, value)
        for misfit in _unknown(shape, value):
            raise misfit
        try:
            return shape.make(**arguments)
        except (TypeError, ValueError) as error:  # a validator of the class
            raise MisfitError(str(error)) from None

    def put_field(self, arguments: dict[str, object], field: Field, values: Mapping[str, Any]) -> None:
        """Structure the value of one field, where it has one."""
        value = values.get(field.name, UNSET)
        if self._null_is_absent and stands_for_default(field, value):
            return
        if value is not UNSET:
            arguments[field.argument] = self._at(field.name, field.shape, value)
        elif field.is_required:
            raise _misfit_at(field.name, f"is missing; expected {expected(field.shape)}")

    def _one_of(self, shape: OneOf, value: Any) -> object:
        members = candidates(shape, value, null_is_absent=self._null_is_absent)
        if len(members) == 1:
            return self.value(members[0], value)
        reasons: list[str] = []
        for member in members:
            self._tries += 1
            if self._tries > _MOST_TRIES:
                raise MisfitError("there are too many ways to read it")
            try:
                return self.value(member, value)
            except MisfitError as misfit:
                reasons.append(f"{misfit.path}: {misfit.reason}" if misfit.path else misfit.reason)
        if not reasons:
            raise _misfit(shape, value)
        raise MisfitError("; or ".join(dict.fromkeys(reasons)))


def _misfit(shape: Shape, value: object) -> MisfitError:
    return MisfitError(f"expected {expected(shape)}, got {kind_of(value)}")


def _list(shape: Shape, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise _misfit(shape, value)
    return cast("Sequence[Any]", value)


def _dict(shape: Shape, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _misfit(shape, value)
    return cast("dict[str, Any]", value)


def _misfit_at(name: str, reason: str) -> MisfitError:
    misfit = MisfitError(reason)
    misfit.segments.append(name)
    return misfit


def _unknown(record: Record, values: Mapping[str, Any]) -> list[MisfitError]:
    known = [field.name for field in record.fields]
    reason = f"is unknown; the names are {', '.join(known)}" if known else "is unknown; there are no names"
    return [_misfit_at(name, reason) for name in values if name not in known]


def _scalar(type_: type[object], value: Any) -> object:
    result: Any = _HOOKS[type_](value, type_)
    if type_ is float:
        try:
            result = float(result)
        except OverflowError:
            raise MisfitError("the number is too large") from None
    return result


def _text(shape: Text, value: Any) -> object:
    if not isinstance(value, str):
        raise _misfit(shape, value)
    try:
        return shape.read(value)
    except ValueError:
        raise MisfitError(f"expected {expected(shape)}") from None


def _choice(shape: Choice, value: Any) -> object:
    for written, member in shape.members:
        if is_same(written, value):
            return member
    raise MisfitError(f"expected {expected(shape)}")
