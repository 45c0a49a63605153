"""Defaults of parameters: whether they are of the parameter's own type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from asyncassist._wire._misfit import MisfitError
from asyncassist._wire.unstructure import unstructure
from asyncassist.errors import UsageError, shown
from asyncassist.tools._encoding import plain
from asyncassist.tools._shapes import Noted, OneOf, Shape, expected
from asyncassist.tools._structuring import structure

__all__ = ["check_default"]

_PLAIN = (str, int, float, bool)
_LISTS = (list, tuple, set, frozenset)


def check_default(shape: Shape, default: object) -> None:
    """Refuse a default that is not of the parameter's type.

    None may stand for a value that is not given, whatever the type; so may an object JSON has no form for. Instances of
    classes are taken as they are. Limits are not looked at: they bind the model, and a default may well be what it must
    not give.

    Raises:
        MisfitError: it says what is wrong.
    """
    if type(default).__name__ == "FieldInfo":
        raise MisfitError("its default is a field of pydantic; put that into the type hint: Annotated[..., Field(...)]")
    try:
        value = unstructure(plain(default))
    except UsageError:  # an object, or an infinite number
        return
    if default is None or not _is_plain(default):
        return
    bare = shape.shape if isinstance(shape, Noted) else shape
    reason = f"does not fit its type: expected {expected(bare)}"
    for member in bare.members if isinstance(bare, OneOf) else (bare,):
        try:
            made = structure(member, value, checks_limits=False)
        except MisfitError:
            continue
        if _is_like(default, made):
            return
        reason = f"is a {type(default).__name__}, where the function otherwise gets a {type(made).__name__}"
    raise MisfitError(f"its default {shown(default)} {reason}")


def _is_plain(value: object) -> bool:
    """Whether a value is made of what JSON has. Instances of classes are taken for what their author meant."""
    if isinstance(value, dict):
        return all(map(_is_plain, cast("dict[object, object]", value).values()))
    if isinstance(value, _LISTS):
        return all(map(_is_plain, cast("Iterable[object]", value)))
    return value is None or isinstance(value, _PLAIN)


def _is_like(default: object, made: object) -> bool:
    """Whether a default is what a model's value would become, and not the JSON it would be written as."""
    return default == made if isinstance(default, _PLAIN) else isinstance(default, dict) == isinstance(made, dict)
