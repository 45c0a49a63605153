"""The parameters of a function: their shapes, and the arguments a model writes for them."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, cast, get_type_hints

from attrs import frozen

from asyncassist._wire._misfit import MisfitError
from asyncassist._wire.json import loads
from asyncassist.errors import DecodeError, UsageError, shown
from asyncassist.models import UNSET
from asyncassist.tools._defaults import check_default
from asyncassist.tools._schemas import schema_of
from asyncassist.tools._shapes import Field, Record
from asyncassist.tools._structuring import check_raw, structure_arguments
from asyncassist.tools._types import TypeReader, described, evaluating

__all__ = ["ArgumentsError", "Parameters", "decode_arguments", "globals_of", "read_parameters"]

_MOST_SHOWN = 8
"""How many of a call's problems the model is told."""
_LONGEST_SHOWN = 400


class ArgumentsError(UsageError):
    """The arguments of a call do not fit; the message is meant for the model."""


@frozen
class Parameters:
    """What a function takes, as a shape and as JSON Schema."""

    record: Record
    schema: Mapping[str, Any]
    strict: bool
    positional: Mapping[str, object]
    """The parameters that cannot be given by name, with their defaults."""

    def bind(self, values: Mapping[str, Any]) -> tuple[list[object], dict[str, object]]:
        """Structure decoded arguments; return what to call the function with.

        Raises:
            ArgumentsError: they do not fit.
        """
        arguments, problems = structure_arguments(self.record, values, null_is_absent=self.strict)
        if problems:
            more = [f"and {len(problems) - _MOST_SHOWN} more"] if len(problems) > _MOST_SHOWN else []
            raise ArgumentsError("; ".join([_short(problem) for problem in problems[:_MOST_SHOWN]] + more))
        first = [arguments.pop(name, default) for name, default in self.positional.items()]
        return first, arguments


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def decode_arguments(text: str) -> dict[str, Any]:
    """Read the arguments of a call. Nothing at all stands for none.

    Raises:
        ArgumentsError: they are no JSON object.
    """
    if not text.strip():
        return {}
    try:
        values = loads(text)
        check_raw(values)
    except DecodeError as error:
        raise ArgumentsError(str(error).replace("the body", "the text", 1)) from None
    except MisfitError as misfit:
        raise ArgumentsError(f"{misfit.path}: {misfit.reason}" if misfit.path else misfit.reason) from None
    if not isinstance(values, dict):
        raise ArgumentsError("expected a JSON object with the arguments by name")
    return cast("dict[str, Any]", values)


def read_parameters(
    function: Callable[..., object],
    *,
    notes: Mapping[str, str],
    names: Mapping[str, object],
    strict: bool,
    skip_first: bool = False,
) -> Parameters:
    """Find out what a function takes.

    Args:
        notes: descriptions by parameter.
        names: local names that type hints may refer to.
        skip_first: leave out the first parameter, which is the instance of a method.

    Raises:
        UsageError: something about it cannot be described to a model.
        NameError: a type hint names something that is not there, or not there yet.
    """
    reader = TypeReader(names)
    try:
        signature = inspect.signature(function)
    except ValueError:
        raise UsageError("it has no signature that could be read") from None
    # What functools.partial has filled in is none of the model's business, and may be secret.
    filled: Mapping[str, object] = getattr(function, "keywords", {}) if type(function) is functools.partial else {}
    fields: list[Field] = []
    positional: dict[str, object] = {}
    for parameter in list(signature.parameters.values())[1 if skip_first else 0 :]:
        if parameter.name in filled:
            continue
        default = UNSET if parameter.default is parameter.empty else parameter.default
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise UsageError(f"it takes {parameter}; a model can only give arguments by name")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional[parameter.name] = default
        try:
            shape = reader.shape(_hint(function, parameter, names))
            check_default(shape, default)
        except MisfitError as misfit:
            misfit.segments.append(parameter.name)
            raise UsageError(f"parameter {misfit.path}: {misfit.reason}") from None
        except RecursionError:
            raise UsageError(f"parameter {parameter.name}: its type refers to itself") from None
        name = parameter.name
        fields.append(Field(name, name, described(shape, notes.get(name)), default is UNSET, default))
    record = Record("parameters", dict, fields=fields)
    try:
        return Parameters(record, schema_of(record, strict=strict), strict, positional)
    except MisfitError as misfit:
        raise UsageError(f"parameter {misfit.path}: {misfit.reason}") from None


def globals_of(function: object) -> dict[str, Any]:
    """Return the names of the module a function was written in, through what is wrapped around it."""
    while True:
        if isinstance(function, functools.partial):
            function = cast("object", function.func)
        elif hasattr(function, "__wrapped__"):
            function = cast("Any", function).__wrapped__
        elif not hasattr(function, "__globals__") and hasattr(type(function), "__call__"):  # noqa: B004 - wanted itself
            return cast("dict[str, Any]", getattr(type(function).__call__, "__globals__", {}))
        else:
            return cast("dict[str, Any]", getattr(function, "__globals__", {}))


def _hint(function: Callable[..., object], parameter: inspect.Parameter, names: Mapping[str, object]) -> Any:
    if parameter.annotation is parameter.empty:
        raise MisfitError("has no type hint; Any takes every JSON value")
    # One at a time, so that neither the type of the result nor another parameter is in the way.
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    with evaluating(f"its type hint {shown(parameter.annotation)}"):
        hints = get_type_hints(cast("Any", holder), globals_of(function), dict(names), include_extras=True)
        return hints[parameter.name]
