"""Models and plain values to JSON-ready values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import NoneType
from typing import Any, TypeAlias, cast

import attrs

from asyncassist._wire._annotations import field_types
from asyncassist._wire._misfit import MAX_DEPTH, MisfitError
from asyncassist.errors import UsageError
from asyncassist.models import UNSET, Model, Unknown
from asyncassist.models._base import OMIT

__all__ = ["default_of", "unstructure"]

# Models put a few levels of their own around raw JSON.
_DEEPEST = MAX_DEPTH + 50

_Encoder: TypeAlias = Callable[[Any, int], object]
_PLAIN: frozenset[type[object]] = frozenset({str, int, bool, NoneType})
_extra_of = attrgetter("_extra")
_received_of = attrgetter("_received")


def unstructure(value: object) -> object:
    """Turn a value into what JSON can carry: dict, list, str, int, float, bool, None; containers are always new.

    Models may stand anywhere in mappings and sequences, and so may what has a definition to send in its place
    (`DefinesTool`). A key whose value is `UNSET` is left out.

    Raises:
        UsageError: something in it cannot be JSON; the message names its path.
    """
    try:
        return _encode(value, 0)
    except MisfitError as misfit:
        raise UsageError(f"{misfit.path}: {misfit.reason}" if misfit.path else misfit.reason) from None
    except RecursionError:
        raise UsageError("the value is nested too deeply to be sent as JSON") from None


_encoders: dict[type[Any], _Encoder] = {}


def _encode(value: object, depth: int) -> object:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if depth > _DEEPEST:
        raise MisfitError("nested too deeply, or inside itself")
    encode = _encoders.get(kind)
    if encode is None:
        encode = _encoders[kind] = _choose_encoder(kind)
    return encode(value, depth)


def _choose_encoder(kind: type[Any]) -> _Encoder:
    if hasattr(kind, "__asyncassist_definition__"):
        return lambda value, depth: _encode(value.__asyncassist_definition__(), depth + 1)
    if issubclass(kind, Unknown):
        return _encode_unknown
    if issubclass(kind, Model):
        return _model_encoder(kind)
    if issubclass(kind, Mapping):
        return _encode_mapping
    # Subclasses of the plain types (enums with a str mixin, numpy's float64) go out as the plain value.
    if issubclass(kind, str):
        return lambda value, _: str.__str__(value)
    if issubclass(kind, int):
        return lambda value, _: int.__int__(value)
    if issubclass(kind, float):
        return _encode_float
    if issubclass(kind, Sequence) and not issubclass(kind, (bytes, bytearray, memoryview)):
        return _encode_sequence
    return _refuse


def _refuse(value: object, _: int) -> object:
    raise MisfitError(f"{type(value).__name__} cannot be sent as JSON")


def _encode_float(value: float, _: int) -> float:
    if not math.isfinite(value):
        raise MisfitError(f"{float(value)} cannot be sent as JSON")
    return float(value)


def _encode_sequence(values: Sequence[object], depth: int) -> list[object]:
    result: list[object] = []
    try:
        for value in values:
            result.append(_encode(value, depth + 1))
    except MisfitError as misfit:
        misfit.segments.append(len(result))
        raise
    return result


def _encode_mapping(values: Mapping[object, object], depth: int) -> dict[str, object]:
    result: dict[str, object] = {}
    name: object = ""
    try:
        for name, value in values.items():
            if not isinstance(name, str):
                raise MisfitError("a key must be a string")
            if value is not UNSET:
                result[str.__str__(name)] = _encode(value, depth + 1)
    except MisfitError as misfit:
        misfit.segments.append(name if isinstance(name, str) else repr(name))
        raise
    return result


def _encode_unknown(model: Unknown, depth: int) -> object:
    return _encode_mapping(cast("Mapping[object, object]", model.raw), depth)


def default_of(attribute: attrs.Attribute[Any]) -> Callable[[], object] | None:
    """Return what makes a field's default value; None if it has none."""
    default: Any = attribute.default
    if default is attrs.NOTHING:
        return None
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class at run time, a function to mypy
        return cast("Callable[[], object]", default.factory)
    return lambda: default


def _model_encoder(cls: type[Model]) -> _Encoder:
    """Make the function that encodes one class of models, from a table of its fields."""
    table: list[tuple[str, Callable[[Model], object], bool, object]] = []
    types = field_types(cls)
    # Received with values of other kinds, these are beside them: a mapping of strings has none.
    of_strings = {name for name, type_ in types.items() if type_ == Mapping[str, str]}
    for name, type_ in types.items():
        make_default = default_of(getattr(attrs.fields(cls), name))
        omits = OMIT in getattr(type_, "__metadata__", ())
        table.append((name, attrgetter(name), omits, UNSET if make_default is None else make_default()))

    def encode_model(model: Model, depth: int) -> dict[str, object]:
        received: Mapping[str, object] = _received_of(model) or {}
        result: dict[str, object] = {}
        name = ""
        try:
            for name, get, omits, default in table:
                value = get(model)
                if name in received and value == default:
                    value = received[name]
                elif omits and value == default:
                    continue
                if type(value) in _PLAIN:
                    result[name] = value
                elif value is not UNSET:
                    result[name] = _encode(value, depth + 1)
        except MisfitError as misfit:
            misfit.segments.append(name)
            raise
        extra: Mapping[object, object] | None = _extra_of(model)
        if extra is not None:
            for name, value in _encode_mapping(extra, depth).items():
                known = result.setdefault(name, value)
                if name in of_strings and isinstance(known, dict) and isinstance(value, dict):
                    result[name] = {**value, **known}
        return result

    return encode_model
